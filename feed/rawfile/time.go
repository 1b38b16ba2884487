package rawfile

import "tickfeed/feed"

// ParseTime is [feed.ParseDecimal] for times, which programs compute as floats: digits that are
// finer than 10^exponent are rounded if they are the trace of a float, which has at most 17
// digits and errs in the last two.
func ParseTime(b []byte, exponent int8) (int64, error) {
	t, err := feed.ParseDecimal(b, exponent)
	if err != feed.ErrDecimalInexact {
		return t, err
	}
	const (
		floatDigits = 1e17    // a float's text has fewer digits
		floatError  = 1 << 51 // a float's error is below this part of it
	)
	m, e, scanErr := feed.ScanDecimal(b)
	if scanErr != nil || m < 0 || m >= floatDigits || e < int(exponent)-9 {
		return 0, err
	}
	unit := int64(1)
	for ; e < int(exponent); e++ {
		unit *= 10
	}
	t = (m + unit/2) / unit
	if rest := m - t*unit; max(rest, -rest) > m/floatError {
		return 0, err
	}
	return t, nil
}
