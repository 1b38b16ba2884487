package itch

import (
	"path/filepath"
	"time"
)

// validDate reports whether date, yyyymmdd, is one of 1990 to 2100.
func validDate(date int) bool {
	y, m, d := date/10000, time.Month(date/100%100), date%100
	t := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	return y >= 1990 && y <= 2100 && t.Month() == m && t.Day() == d
}

// dateIn returns the date in the name of a file as yyyymmdd, or 0 if there is none: 2020-01-30, 20200130,
// 01302020 (the exchange's names), or S013020 (its older names).
func dateIn(path string) int {
	name := filepath.Base(path)
	for i := 0; i < len(name); i++ {
		if name[i] < '0' || name[i] > '9' || i > 0 && name[i-1] >= '0' && name[i-1] <= '9' {
			continue
		}
		digits, n := 0, 0
		for ; i+n < len(name) && name[i+n] >= '0' && name[i+n] <= '9' && n < 9; n++ {
			digits = 10*digits + int(name[i+n]-'0')
		}
		if n == 4 && len(name) >= i+10 && name[i+4] == '-' && name[i+7] == '-' {
			if m, d := two(name[i+5:]), two(name[i+8:]); m > 0 && d > 0 && validDate(digits*10000+m*100+d) {
				return digits*10000 + m*100 + d
			}
		}
		if n == 8 {
			if validDate(digits) {
				return digits
			}
			if d := digits%10000*10000 + digits/10000; validDate(d) {
				return d
			}
		}
		if d := (2000+digits%100)*10000 + digits/100; n == 6 && i > 0 && name[i-1] == 'S' && validDate(d) {
			return d
		}
	}
	return 0
}

// two returns the number that the first two digits of s form, or 0 if they are not digits.
func two(s string) int {
	if len(s) < 2 || s[0]-'0' > 9 || s[1]-'0' > 9 {
		return 0
	}
	return int(s[0]-'0')*10 + int(s[1]-'0')
}
