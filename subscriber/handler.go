package subscriber

// A Handler has a function for each kind of batch, for programs that need some of them. Its Handle is a
// handler for Run; it calls the function that a batch is for, unless that is nil. An error ends Run.
type Handler struct {
	// Ticks gets new ticks.
	Ticks func(*Batch) error
	// Snapshot gets the entries of a snapshot, which are not new ticks, after the change that reports the snapshot.
	Snapshot func(*Batch) error
	// Change gets each change, before Recovery gets its report.
	Change func(*Change) error
	// Recovery gets the report of each recovery that has ended.
	Recovery func(*Report) error
}

// Handle passes b, which is valid until Handle returns, on.
func (h Handler) Handle(b *Batch) error {
	if c := b.Change; c != nil {
		if h.Change != nil {
			if err := h.Change(c); err != nil {
				return err
			}
		}
		if c.Report != nil && h.Recovery != nil {
			return h.Recovery(c.Report)
		}
		return nil
	}
	ticks := h.Ticks
	if b.Snapshot {
		ticks = h.Snapshot
	}
	if ticks == nil {
		return nil
	}
	return ticks(b)
}
