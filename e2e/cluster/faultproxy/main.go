// SPDX-License-Identifier: Apache-2.0

// Faultproxy stands in front of an API server, speaks HTTP/1.1 and HTTP/2 over
// TLS to both sides, and breaks what it is told to break.
//
// The rules are set as a whole, as a JSON list, by a PUT to the control
// address; a GET gives them back with how often each has matched and acted.
// The first rule that acts on a request is the only one.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// rule says which requests it is about and what becomes of them.
type rule struct {
	Methods []string // None: all.
	Path    string   // Regular expression over path and query.
	Skip    int      // So many matches pass.
	Times   int      // So many are acted on; 0: all.

	// "answer": Code, Headers and Body instead of the server's answer.
	// "cut": the connection ends, before the request is sent on.
	// "cut-after": the connection ends after the server has answered.
	// "cut-body": the connection ends after Bytes of the answer's body.
	// "kill", "kill-after": as cut and cut-after, and the process group Pid is
	// killed before that.
	// "delay": the request is sent on Delay seconds later.
	Action  string
	Code    int
	Headers map[string]string
	Body    string
	Bytes   int
	Pid     int
	Delay   float64

	Matched, Acted int

	path *regexp.Regexp
}

type connectionKey struct{}

type proxy struct {
	reverse *httputil.ReverseProxy

	mu          sync.Mutex
	rules       []*rule
	connections map[net.Conn]bool
}

// pick returns a copy of the rule that acts on the request, or nil.
func (p *proxy) pick(request *http.Request) *rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.rules {
		if !r.path.MatchString(request.URL.RequestURI()) ||
			len(r.Methods) > 0 && !contains(r.Methods, request.Method) {
			continue
		}
		r.Matched++
		if r.Matched <= r.Skip || r.Times > 0 && r.Acted >= r.Times {
			continue
		}
		r.Acted++
		picked := *r
		return &picked
	}
	return nil
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r := p.pick(request)
	if r == nil {
		p.reverse.ServeHTTP(w, request)
		return
	}
	switch r.Action {
	case "answer":
		for key, value := range r.Headers {
			w.Header().Set(key, value)
		}
		w.WriteHeader(r.Code)
		io.WriteString(w, r.Body)
	case "delay":
		select {
		case <-time.After(time.Duration(r.Delay * float64(time.Second))):
			p.reverse.ServeHTTP(w, request)
		case <-request.Context().Done():
		}
	case "cut-body":
		p.reverse.ServeHTTP(&cutting{w, r.Bytes, request}, request)
		cut(request)
	case "kill", "cut":
		r.kill()
		cut(request)
	case "kill-after", "cut-after":
		// Who is gone takes nothing back: the server gets all of it.
		whole := request.WithContext(context.WithoutCancel(request.Context()))
		p.reverse.ServeHTTP(&swallowing{http.Header{}}, whole)
		r.kill()
		cut(request)
	}
}

func (r *rule) kill() {
	if r.Pid > 0 {
		syscall.Kill(-r.Pid, syscall.SIGKILL)
	}
}

// cut ends the request's connection and with it all its streams.
func cut(request *http.Request) {
	request.Context().Value(connectionKey{}).(net.Conn).Close()
	panic(http.ErrAbortHandler)
}

// cutting lets so many bytes of a body through.
type cutting struct {
	http.ResponseWriter
	left    int
	request *http.Request
}

func (c *cutting) Write(data []byte) (int, error) {
	if len(data) < c.left {
		c.left -= len(data)
		return c.ResponseWriter.Write(data)
	}
	c.ResponseWriter.Write(data[:c.left])
	c.Flush()
	cut(c.request)
	return 0, nil
}

func (c *cutting) Flush() { c.ResponseWriter.(http.Flusher).Flush() }

// swallowing is an answer that nobody sees.
type swallowing struct{ header http.Header }

func (s *swallowing) Header() http.Header            { return s.header }
func (s *swallowing) Write(data []byte) (int, error) { return len(data), nil }
func (s *swallowing) WriteHeader(int)                {}

func (p *proxy) control(w http.ResponseWriter, request *http.Request) {
	switch request.Method {
	case http.MethodPut:
		var rules []*rule
		if err := json.NewDecoder(request.Body).Decode(&rules); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, r := range rules {
			path, err := regexp.Compile(r.Path)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			r.path = path
		}
		p.mu.Lock()
		p.rules = rules
		p.mu.Unlock()
	case http.MethodDelete:
		// All connections end now, with the watches on them.
		p.mu.Lock()
		defer p.mu.Unlock()
		for connection := range p.connections {
			connection.Close()
		}
	default:
		p.mu.Lock()
		defer p.mu.Unlock()
		json.NewEncoder(w).Encode(p.rules)
	}
}

func contains(list []string, wanted string) bool {
	for _, found := range list {
		if found == wanted {
			return true
		}
	}
	return false
}

func main() {
	listen := flag.String("listen", "", "address for clients")
	control := flag.String("control", "", "address for the rules, plain HTTP")
	server := flag.String("server", "", "URL of the API server")
	certificate := flag.String("certificate", "", "certificate of both")
	key := flag.String("key", "", "private key of the certificate")
	flag.Parse()

	trusted, err := os.ReadFile(*certificate)
	if err != nil {
		log.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(trusted)
	target, err := url.Parse(*server)
	if err != nil {
		log.Fatal(err)
	}
	quiet := log.New(io.Discard, "", 0)
	p := &proxy{
		connections: map[net.Conn]bool{},
		reverse: &httputil.ReverseProxy{
			Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
			FlushInterval: -1,
			ErrorLog:      quiet,
			Transport: &http.Transport{
				TLSClientConfig:    &tls.Config{RootCAs: pool},
				ForceAttemptHTTP2:  true,
				DisableCompression: true,
			},
			ErrorHandler: func(_ http.ResponseWriter, r *http.Request, _ error) {
				// A server that is not there answers nothing.
				cut(r)
			},
		},
	}
	go func() {
		log.Fatal(http.ListenAndServe(*control, http.HandlerFunc(p.control)))
	}()
	front := &http.Server{
		Addr:     *listen,
		Handler:  p,
		ErrorLog: quiet,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, c)
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if state == http.StateClosed {
				delete(p.connections, c)
			} else {
				p.connections[c] = true
			}
		},
	}
	log.Fatal(front.ListenAndServeTLS(*certificate, *key))
}
