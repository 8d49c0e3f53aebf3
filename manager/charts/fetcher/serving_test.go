// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"flotilla.dev/manager/charts/fetcher/fetchv1"
)

// proxied is what the proxy of all tests is asked. Loopback is never proxied.
var proxied struct {
	sync.Mutex
	hosts []string
}

// Go reads HTTP_PROXY once, so the proxy is there from the beginning.
func TestMain(m *testing.M) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxied.Lock()
		proxied.hosts = append(proxied.hosts, r.URL.Host)
		proxied.Unlock()
		switch {
		case r.URL.Host != "charts.example.test":
			w.WriteHeader(http.StatusBadGateway)
		case strings.HasSuffix(r.URL.Path, "index.yaml"):
			w.Write(indexOf("web", "1.0.0"))
		default:
			w.Write(chartArchive("web", "1.0.0"))
		}
	}))
	os.Setenv("HTTP_PROXY", proxy.URL)
	os.Exit(m.Run())
}

// server is an HTTP server that remembers what it was asked, and with which
// credentials.
type server struct {
	*httptest.Server
	mux *http.ServeMux

	mu    sync.Mutex
	asked []asked
}

type asked struct {
	path, authorization string
}

func newServer(t *testing.T, encrypted bool) *server {
	t.Helper()
	s := &server{mux: http.NewServeMux()}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, asked{r.URL.RequestURI(), r.Header.Get("Authorization")})
		s.mu.Unlock()
		s.mux.ServeHTTP(w, r)
	})
	if encrypted {
		s.Server = httptest.NewTLSServer(handler)
	} else {
		s.Server = httptest.NewServer(handler)
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(s.Close)
	return s
}

func (s *server) give(path string, content []byte) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { w.Write(content) })
}

// guarded answers only with the right user and password.
func (s *server) guarded(path, user, password string, content []byte) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		u, p, ok := r.BasicAuth()
		if !ok || u != user || p != password {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintf(w, "you said %s", p)
			return
		}
		w.Write(content)
	})
}

func (s *server) redirect(path, target string) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target, http.StatusFound)
	})
}

func (s *server) requests() []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]asked(nil), s.asked...)
}

func (s *server) paths() []string {
	var paths []string
	for _, a := range s.requests() {
		paths = append(paths, a.path)
	}
	return paths
}

// sawCredentials says whether any request brought some.
func (s *server) sawCredentials() bool {
	for _, a := range s.requests() {
		if a.authorization != "" {
			return true
		}
	}
	return false
}

func (s *server) ca() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// file of a test archive.
type file struct {
	name, content string
	kind          byte
	link          string
}

func tarGz(files ...file) []byte {
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for _, f := range files {
		kind := f.kind
		if kind == 0 {
			kind = tar.TypeReg
		}
		header := &tar.Header{Name: f.name, Typeflag: kind, Linkname: f.link, Mode: 0o644, Format: tar.FormatPAX}
		if kind == tar.TypeXGlobalHeader {
			header = &tar.Header{Typeflag: kind, PAXRecords: map[string]string{"comment": "0123"}}
		}
		if kind == tar.TypeReg {
			header.Size = int64(len(f.content))
		}
		if err := archive.WriteHeader(header); err != nil {
			panic(err)
		}
		if kind == tar.TypeReg {
			if _, err := archive.Write([]byte(f.content)); err != nil {
				panic(err)
			}
		}
	}
	archive.Close()
	zipped.Close()
	return out.Bytes()
}

func chartArchive(name, version string) []byte {
	return tarGz(
		file{name: name + "/Chart.yaml", content: chartYAML(name, version)},
		file{name: name + "/values.yaml", content: "replicas: 1\n"},
		file{name: name + "/templates/configmap.yaml", content: "kind: ConfigMap\n"})
}

func chartYAML(name, version string) string {
	return fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n", name, version)
}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// indexOf writes an index as Helm does.
func indexOf(chart string, versions ...string) []byte {
	text := "apiVersion: v1\nentries:\n  " + chart + ":\n"
	for _, version := range versions {
		text += fmt.Sprintf("  - apiVersion: v2\n    name: %s\n    urls:\n    - charts/%s-%s.tgz\n    version: %s\n", chart, chart, version, version)
	}
	return []byte(text + "generated: \"2026-01-01T00:00:00Z\"\n")
}

// repository serves a chart in these versions.
func (s *server) repository(prefix, chart string, versions ...string) {
	s.give(prefix+"/index.yaml", indexOf(chart, versions...))
	for _, version := range versions {
		s.give(prefix+"/charts/"+chart+"-"+version+".tgz", chartArchive(chart, version))
	}
}

// collected is a sink.
type collected map[string]string

func (c collected) add(name string, content []byte) error {
	c[name] = string(content)
	return nil
}

func get(t *testing.T, request *fetchv1.FetchRequest) (collected, outcome, error) {
	t.Helper()
	return getWith(t, newFetcher(), request)
}

func getWith(t *testing.T, f *fetcher, request *fetchv1.FetchRequest) (collected, outcome, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	files := collected{}
	result, err := f.fetchSafely(ctx, request, files)
	if err != nil {
		// As it would be told.
		wire := toWire(ctx, request.Credentials, err)
		err = &problem{code: wire.Code, message: wire.Message}
	}
	return files, result, err
}

// wantProblem checks an error's code and words.
func wantProblem(t *testing.T, err error, code int32, words ...string) {
	t.Helper()
	var p *problem
	if !errors.As(err, &p) {
		t.Fatalf("got %v, want an error with code %d", err, code)
	}
	if p.code != code {
		t.Errorf("code %d, want %d: %s", p.code, code, p.message)
	}
	for _, word := range words {
		if !strings.Contains(p.message, word) {
			t.Errorf("%q does not say %q", p.message, word)
		}
	}
}

func wantNames(t *testing.T, files collected, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, ok := files[name]; !ok {
			t.Errorf("no file %q in %d files", name, len(files))
		}
	}
	if len(files) != len(names) {
		t.Errorf("%d files, want %d: %v", len(files), len(names), files)
	}
}

var chartFiles = []string{"Chart.yaml", "values.yaml", "templates/configmap.yaml"}

// ociServer is a registry with one repository, kept in memory.
type ociServer struct {
	*server
	name string
	tags []string
	// User and password that it wants; "" for none.
	user, password string
	// Token service; "" for basic authentication.
	realm string
	// Tags in a page; 0 for all.
	page int

	manifests map[string][]byte
	blobs     map[string][]byte
	// Where blobs are redirected to; "" for nowhere.
	blobHost string
}

const ociToken = "token-of-the-registry"

func newOCIServer(t *testing.T, encrypted bool, name string) *ociServer {
	t.Helper()
	o := &ociServer{server: newServer(t, encrypted), name: name,
		manifests: map[string][]byte{}, blobs: map[string][]byte{}}
	o.mux.HandleFunc("/v2/", o.serve)
	o.mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		u, p, _ := r.BasicAuth()
		if u != o.user || p != o.password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"token": %q}`, ociToken)
	})
	return o
}

// push adds a version of the chart.
func (o *ociServer) push(chart, version string) {
	o.pushArchive(version, chartArchive(chart, version))
}

func (o *ociServer) pushArchive(version string, archive []byte) {
	layer := "sha256:" + digestOf(archive)
	o.blobs[layer] = archive
	raw, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": map[string]any{"mediaType": chartConfigType, "digest": "sha256:" + strings.Repeat("0", 64), "size": 2},
		"layers": []map[string]any{
			{"mediaType": "application/vnd.cncf.helm.chart.provenance.v1.prov", "digest": "sha256:" + strings.Repeat("1", 64), "size": 3},
			{"mediaType": chartLayerType, "digest": layer, "size": len(archive)},
		},
	})
	o.manifests[versionTag(version)] = raw
	o.manifests["sha256:"+digestOf(raw)] = raw
	o.tags = append(o.tags, versionTag(version))
}

func (o *ociServer) serve(w http.ResponseWriter, r *http.Request) {
	if o.user != "" {
		u, p, _ := r.BasicAuth()
		allowed := u == o.user && p == o.password
		if o.realm != "" {
			allowed = r.Header.Get("Authorization") == "Bearer "+ociToken
		}
		if !allowed {
			challenge := `Basic realm="registry"`
			if o.realm != "" {
				challenge = fmt.Sprintf(`Bearer realm=%q,service="registry.test",scope="repository:%s:pull"`, o.realm, o.name)
			}
			w.Header().Set("WWW-Authenticate", challenge)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
	}
	rest, found := strings.CutPrefix(r.URL.Path, "/v2/"+o.name+"/")
	if !found {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	kind, what, _ := strings.Cut(rest, "/")
	switch kind {
	case "tags":
		o.serveTags(w, r)
	case "manifests":
		if m, ok := o.manifests[what]; ok {
			w.Header().Set("Content-Type", manifestType)
			w.Write(m)
			return
		}
		w.WriteHeader(http.StatusNotFound)
	case "blobs":
		if o.blobHost != "" {
			http.Redirect(w, r, o.blobHost+"/"+what, http.StatusTemporaryRedirect)
			return
		}
		w.Write(o.blobs[what])
	}
}

func (o *ociServer) serveTags(w http.ResponseWriter, r *http.Request) {
	tags := o.tags
	if o.page > 0 {
		begin := 0
		for i, tag := range tags {
			if tag == r.URL.Query().Get("last") {
				begin = i + 1
			}
		}
		end := min(begin+o.page, len(tags))
		tags = tags[begin:end]
		if end < len(o.tags) {
			w.Header().Set("Link", fmt.Sprintf(`</v2/%s/tags/list?n=%d&last=%s>; rel="next"`, o.name, o.page, url.QueryEscape(tags[len(tags)-1])))
		}
	}
	json.NewEncoder(w).Encode(map[string]any{"name": o.name, "tags": tags})
}

func (o *ociServer) ref() string {
	_, host, _ := strings.Cut(o.URL, "://")
	return "oci://" + host + "/" + o.name
}
