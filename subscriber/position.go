package subscriber

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/google/renameio/v2/maybe"

	"tickfeed/codec"
	"tickfeed/codec/filemode"
)

// A positionFile keeps a position on disk, replaced as a whole each time. Without a path it does nothing.
type positionFile struct {
	path    string
	saved   codec.Position
	savedAt time.Time
}

const (
	saveEvery       = 100 * time.Millisecond
	maxPositionFile = 64 << 10
)

func (p *positionFile) read() (held codec.Position, err error) {
	if p.path == "" {
		return held, nil
	}
	f, err := os.Open(p.path)
	if errors.Is(err, fs.ErrNotExist) {
		return held, nil
	}
	if err != nil {
		return held, fmt.Errorf("position file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPositionFile+1))
	if err != nil {
		return held, fmt.Errorf("position file: %w", err)
	}
	if err := parsePosition(data, &held); err != nil {
		return codec.Position{}, fmt.Errorf("position file %s is damaged (%w): restore it, or delete it to begin anew", p.path, err)
	}
	p.saved = held
	return held, nil
}

func parsePosition(data []byte, held *codec.Position) error {
	if len(data) > maxPositionFile {
		return fmt.Errorf("more than %d bytes", maxPositionFile)
	}
	if err := json.Unmarshal(data, held); err != nil {
		return err
	}
	if err := held.Lineage.Validate(); err != nil {
		return err
	}
	if held.Next < 1 || held.Next > codec.MaxSeq {
		return fmt.Errorf("next is %d, want 1 to %d", held.Next, codec.MaxSeq)
	}
	return nil
}

// due is when held has to be saved; zero if it need not.
func (p *positionFile) due(held codec.Position) time.Time {
	if p.path == "" || !p.changed(held) {
		return time.Time{}
	}
	return p.savedAt.Add(saveEvery)
}

func (p *positionFile) changed(held codec.Position) bool {
	return len(held.Lineage) > 0 && (held.Next != p.saved.Next || held.Lineage.Current() != p.saved.Lineage.Current() || len(held.Lineage) != len(p.saved.Lineage))
}

// save writes held, if it has changed, through a temporary file that is synced and renamed.
func (p *positionFile) save(held codec.Position) error {
	if p.path == "" || !p.changed(held) {
		return nil
	}
	data, err := json.Marshal(held)
	if err != nil {
		return fmt.Errorf("position file: %w", err)
	}
	if err := maybe.WriteFile(p.path, append(data, '\n'), filemode.File()); err != nil {
		return fmt.Errorf("position file: %w", err)
	}
	p.saved = held
	return nil
}
