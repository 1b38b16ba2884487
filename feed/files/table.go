package files

import (
	"context"
	"errors"

	"tickfeed/feed"
	"tickfeed/feed/parquetfile"
	"tickfeed/feed/rawfile"
	"tickfeed/feed/textfile"
)

// A table is a source of rows that stand in the columns of Parquet files: the importer of text
// reads them, so that one set of rules says what columns and cells mean.
type table struct {
	*textfile.Source
	rows *parquetfile.Rows
}

// Next implements [feed.Source]. Errors name the file; the line of a row is as if a header stood
// before the rows of each file.
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

// place is err with the file that its row is of.
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

// Meter implements importer: the rows count what is read of the files.
func (t *table) Meter(*rawfile.Meter) {}

// Close closes the files.
func (t *table) Close() error {
	err := t.Source.Close()
	t.rows.Close()
	return err
}
