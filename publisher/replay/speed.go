package replay

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Speed is recorded seconds per second. Its text form is "10x", "0.5x" or "max".
type Speed float64

// ParseSpeed parses a speed such as 10x, 0.5x, 2 or max.
func ParseSpeed(s string) (Speed, error) {
	if s == "max" {
		return Speed(Max), nil
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "x"), 64)
	if err != nil || !(v >= MinSpeed && v <= MaxSpeed) {
		return 0, fmt.Errorf("%.32q is not a speed; write 1x, 10x, 0.5x or max", s)
	}
	return Speed(v), nil
}

func (s Speed) String() string {
	if math.IsInf(float64(s), 1) {
		return "max"
	}
	return strconv.FormatFloat(float64(s), 'g', -1, 64) + "x"
}

// MarshalText returns the form that ParseSpeed parses.
func (s Speed) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText parses the output of MarshalText.
func (s *Speed) UnmarshalText(b []byte) (err error) {
	*s, err = ParseSpeed(string(b))
	return err
}

// UnmarshalJSON accepts the text form, as a string, or a number.
func (s *Speed) UnmarshalJSON(b []byte) (err error) {
	text := string(b)
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	*s, err = ParseSpeed(text)
	return err
}
