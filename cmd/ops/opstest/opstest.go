// Package opstest sends requests to the sites of commands. Only tests import it.
package opstest

import (
	"net/http"
	"net/http/httptest"
	"strings"
)

// Ask sends a request to h, and returns the response. Its headers come in pairs; "Host" is the host.
func Ask(h http.Handler, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost:8427"+path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
