package bench

import "errors"

const canSignal = false

func (p *peer) terminate() error { return errors.ErrUnsupported }

func (p *peer) freeze() error { return errors.ErrUnsupported }

func (p *peer) thaw() error { return errors.ErrUnsupported }
