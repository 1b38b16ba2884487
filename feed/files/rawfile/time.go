package rawfile

import "tickfeed/feed/decimal"

// ParseTime is [decimal.Parse] for times that a program may have computed as floats: it rounds digits finer
// than 10^exponent if they can be the error of a float, which has at most 17 digits and errs in the last two.
func ParseTime(b []byte, exponent int8) (int64, error) {
	t, err := decimal.Parse(b, exponent)
	if err != decimal.ErrInexact {
		return t, err
	}
	const (
		floatDigits = 1e17    // a float's text has at most 17 digits
		floatError  = 1 << 51 // a float's error is less than its value divided by floatError
	)
	m, e, scanErr := decimal.Scan(b)
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
