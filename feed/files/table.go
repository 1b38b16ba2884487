package files

import (
	"context"
	"errors"

	"tickfeed/feed"
	"tickfeed/feed/files/parquetfile"
	"tickfeed/feed/files/rawfile"
	"tickfeed/feed/files/textfile"
)

// A table is a source of rows from Parquet files. The importer of text
// reads them, so that the same rules apply to their columns and cells.
type table struct {
	*textfile.Source
	rows *parquetfile.Rows
}

// Next implements [feed.Source]. Errors name the file. Lines are numbered as if a header
// preceded the rows of each file.
func (t *table) Next(ctx context.Context, batch []feed.Tick) (int, error) {
	n, err := t.Source.Next(ctx, batch)
	var line *textfile.LineError
	var damage *rawfile.DamageError
	switch {
	case errors.As(err, &line):
		return n, t.place(line)
	case errors.As(err, &damage):
		return n, damage
	}
	return n, err
}

// place returns a copy of err with the file and line of its row.
func (t *table) place(err *textfile.LineError) *textfile.LineError {
	placed := *err
	path, row := t.rows.Where(err.Line)
	placed.File, placed.Line = path, row+1
	return &placed
}

func (t *table) stats() Stats {
	st := t.Stats()
	s := textStats(st)
	if st.FirstBad != nil {
		s.FirstBad = t.place(st.FirstBad)
	}
	return s
}

// Meter implements importer. It does nothing, because the rows count the bytes read.
func (t *table) Meter(*rawfile.Meter) {}

// Close closes the files.
func (t *table) Close() error {
	err := t.Source.Close()
	t.rows.Close()
	return err
}
