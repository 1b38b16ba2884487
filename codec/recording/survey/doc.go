// Package survey reports what is in a recording: its sessions and instruments, its ticks by kind and over time, and everything that is
// missing or damaged.
//
//	in, err := recording.Open("day.tick")
//	if err != nil {
//		return err
//	}
//	defer in.Close()
//	r, err := in.Reader()
//	if err != nil {
//		return err
//	}
//	s, err := survey.Take(ctx, r, place.MarketClock, nil)
//	if err != nil {
//		return err
//	}
//	fmt.Println(s.Ticks, "ticks,", s.Missing, "numbers lost; sound:", s.Sound())
package survey
