// Package usage measures what this process uses of the machine, for benchmarks and tests.
package usage
