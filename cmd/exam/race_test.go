//go:build race

package exam_test

const raceEnabled = true
