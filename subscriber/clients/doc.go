// Package clients holds subscribers in other languages; its test examines them. README.md says how to use them.
package clients
