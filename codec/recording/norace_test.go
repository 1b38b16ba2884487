//go:build !race

package recording

const stride = 1
