// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/zip"
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"flotilla.dev/manager/charts/fetcher/fetchv1"
)

const (
	user     = "robot"
	password = "canary-7f3a%/:pw"
)

func credentials() *fetchv1.FetchCredentials {
	return &fetchv1.FetchCredentials{Username: user, Password: password}
}

func TestPicksTheVersionThatIsMeant(t *testing.T) {
	s := newServer(t, false)
	s.repository("/stable", "web", "1.0.0", "1.2.0", "2.0.0", "2.1.0-rc.1", "1.10.0")
	for _, test := range []struct {
		wanted, version string
		immutable       bool
	}{
		{"", "2.0.0", false},
		{"^1.0", "1.10.0", false},
		{"1.2.0", "1.2.0", true},
		{"~1.2", "1.2.0", false},
		{">=2.1.0-0", "2.1.0-rc.1", false},
		{"2.1.0-rc.1", "2.1.0-rc.1", true},
		{"<2", "1.10.0", false},
		{"1.x", "1.10.0", false},
	} {
		files, result, err := get(t, &fetchv1.FetchRequest{Repo: s.URL + "/stable", Chart: "web", Version: test.wanted})
		if err != nil {
			t.Errorf("%q: %v", test.wanted, err)
			continue
		}
		if result.version != test.version || result.immutable != test.immutable {
			t.Errorf("%q gave %v, want %q", test.wanted, result, test.version)
		}
		wantNames(t, files, chartFiles...)
		if files["Chart.yaml"] != chartYAML("web", test.version) {
			t.Errorf("%q gave another chart: %s", test.wanted, files["Chart.yaml"])
		}
	}
}

func TestSaysWhatIsMissing(t *testing.T) {
	s := newServer(t, false)
	s.repository("", "web", "1.0.0", "1.1.0")
	s.repository("/early", "web", "0.1.0-alpha")
	for _, test := range []struct {
		repo, chart, version string
		code                 int32
		words                []string
	}{
		{s.URL, "web", "9.9.9", notFound, []string{`no version "9.9.9"`, `newest of 2 is "1.1.0"`}},
		{s.URL, "other", "", notFound, []string{`has no chart "other"`}},
		{s.URL, "web", "one", invalidArgument, []string{`helm.version "one"`}},
		{s.URL + "/none", "web", "", notFound, []string{"/none/index.yaml does not exist", "helm.repo"}},
		{s.URL + "/early", "web", "", notFound, []string{"no stable version", "0.1.0-alpha"}},
		{s.URL, "", "", invalidArgument, []string{"helm.chart"}},
		{"", "./here", "", invalidArgument, []string{"neither a folder of the bundle nor a URL"}},
		{"ftp://host/x", "web", "", invalidArgument, []string{"https://"}},
		{"file:///etc", "web", "", invalidArgument, []string{"https://"}},
		{"https://", "web", "", invalidArgument, []string{"names no host"}},
		{"http://127.0.0.1:1", "web", "", unavailable, []string{"127.0.0.1:1"}},
		{s.URL, "../web", "", invalidArgument, []string{"not the name of a chart"}},
		{s.URL, ".", "", invalidArgument, []string{"not the name of a chart"}},
	} {
		_, _, err := get(t, &fetchv1.FetchRequest{Repo: test.repo, Chart: test.chart, Version: test.version})
		if err == nil {
			t.Errorf("%v: no error", test)
			continue
		}
		wantProblem(t, err, test.code, test.words...)
	}
}

func TestTakesRelativeAndAbsoluteURLsOfTheIndex(t *testing.T) {
	s := newServer(t, false)
	elsewhere := newServer(t, false)
	elsewhere.give("/a/web.tgz", chartArchive("web", "3.0.0"))
	s.give("/repo/index.yaml", []byte(`
entries:
  web:
  - version: 3.0.0
    urls: ["`+elsewhere.URL+`/a/web.tgz"]
  - version: 2.0.0
    urls: ["/rooted/web.tgz"]
  - version: 1.0.0
    urls: ["nowhere.tgz", "web-1.tgz"]
`))
	s.give("/rooted/web.tgz", chartArchive("web", "2.0.0"))
	s.mux.HandleFunc("/repo/web-1.tgz", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("sig") != "x" {
			w.WriteHeader(http.StatusForbidden)
		}
		w.Write(chartArchive("web", "1.0.0"))
	})
	for version, want := range map[string]string{"3.0.0": "/a/web.tgz", "2.0.0": "/rooted/web.tgz", "1.0.0": "/repo/web-1.tgz?sig=x"} {
		if _, _, err := get(t, &fetchv1.FetchRequest{Repo: s.URL + "/repo/?sig=x", Chart: "web", Version: version}); err != nil {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestChecksTheDigestOfTheIndex(t *testing.T) {
	s := newServer(t, false)
	good := chartArchive("web", "1.0.0")
	s.give("/web.tgz", good)
	s.give("/good/index.yaml", []byte("entries:\n  web:\n  - version: 1.0.0\n    digest: "+digestOf(good)+"\n    urls: [/web.tgz]\n"))
	s.give("/bad/index.yaml", []byte("entries:\n  web:\n  - version: 1.0.0\n    digest: "+digestOf([]byte("x"))+"\n    urls: [/web.tgz]\n"))
	if _, _, err := get(t, &fetchv1.FetchRequest{Repo: s.URL + "/good", Chart: "web"}); err != nil {
		t.Error(err)
	}
	_, _, err := get(t, &fetchv1.FetchRequest{Repo: s.URL + "/bad", Chart: "web"})
	wantProblem(t, err, unavailable, "not what the index says")
}

func TestSendsCredentialsToTheRepositoryAlone(t *testing.T) {
	s := newServer(t, true)
	other := newServer(t, true)
	other.give("/web.tgz", chartArchive("web", "1.0.0"))
	archive := chartArchive("web", "1.0.0")
	s.guarded("/own/index.yaml", user, password, indexOf("web", "1.0.0"))
	s.guarded("/own/charts/web-1.0.0.tgz", user, password, archive)
	s.guarded("/foreign/index.yaml", user, password, []byte("entries:\n  web:\n  - version: 1.0.0\n    urls: ["+other.URL+"/web.tgz]\n"))
	s.guarded("/moved/index.yaml", user, password, indexOf("web", "1.0.0"))
	s.redirect("/moved/charts/web-1.0.0.tgz", other.URL+"/web.tgz")
	s.redirect("/inside/index.yaml", "/own/index.yaml")
	s.guarded("/inside/charts/web-1.0.0.tgz", user, password, archive)
	creds := credentials()
	creds.CaBundle = append(s.ca(), other.ca()...)
	for _, repo := range []string{"/own", "/foreign", "/moved", "/inside"} {
		files, _, err := get(t, &fetchv1.FetchRequest{Repo: s.URL + repo, Chart: "web", Credentials: creds})
		if err != nil {
			t.Errorf("%s: %v", repo, err)
			continue
		}
		wantNames(t, files, chartFiles...)
	}
	if len(other.requests()) != 2 || other.sawCredentials() {
		t.Errorf("the other host was asked %v", other.requests())
	}

	// The other host answers with credentials' names in a redirect back: they
	// go to the exact origin again, and to nobody on the way.
	other.redirect("/back", s.URL+"/own/index.yaml")
	s.redirect("/round/index.yaml", other.URL+"/back")
	s.guarded("/round/charts/web-1.0.0.tgz", user, password, archive)
	if _, _, err := get(t, &fetchv1.FetchRequest{Repo: s.URL + "/round", Chart: "web", Credentials: creds}); err != nil {
		t.Error(err)
	}
	if other.sawCredentials() {
		t.Errorf("the other host was asked %v", other.requests())
	}

	_, _, err := get(t, &fetchv1.FetchRequest{Repo: s.URL + "/own", Chart: "web", Credentials: &fetchv1.FetchCredentials{CaBundle: s.ca()}})
	wantProblem(t, err, unauthenticated, "wants credentials", "none were sent")
	wrong := &fetchv1.FetchCredentials{Username: user, Password: "canary-wrong", CaBundle: s.ca()}
	_, _, err = get(t, &fetchv1.FetchRequest{Repo: s.URL + "/own", Chart: "web", Credentials: wrong})
	wantProblem(t, err, unauthenticated, "refused the credentials")
	if strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}

func TestUsesTheUserOfTheURLForItsOwnHost(t *testing.T) {
	s := newServer(t, false)
	other := newServer(t, false)
	other.give("/web.tgz", chartArchive("web", "1.0.0"))
	s.guarded("/index.yaml", "own", "canary-own", []byte("entries:\n  web:\n  - version: 1.0.0\n    urls: ["+other.URL+"/web.tgz]\n"))
	repo := strings.Replace(s.URL, "http://", "http://own:canary-own@", 1)
	if _, _, err := get(t, &fetchv1.FetchRequest{Repo: repo, Chart: "web"}); err != nil {
		t.Fatal(err)
	}
	if other.sawCredentials() {
		t.Error("the other host got them")
	}
	_, _, err := get(t, &fetchv1.FetchRequest{Repo: repo + "/none", Chart: "web"})
	wantProblem(t, err, notFound)
	if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "own:") {
		t.Error(err)
	}
}

func TestRefusesToLeaveTLSWithCredentials(t *testing.T) {
	s := newServer(t, true)
	plain := newServer(t, false)
	plain.repository("", "web", "1.0.0")
	s.redirect("/index.yaml", plain.URL+"/index.yaml")
	s.give("/charts/web-1.0.0.tgz", chartArchive("web", "1.0.0"))
	creds := credentials()
	creds.CaBundle = s.ca()
	_, _, err := get(t, &fetchv1.FetchRequest{Repo: s.URL, Chart: "web", Credentials: creds})
	wantProblem(t, err, invalidArgument, "from https:// to http://")
	if len(plain.requests()) != 0 {
		t.Error("it was asked")
	}
	// Nothing can be lost without.
	if _, _, err := get(t, &fetchv1.FetchRequest{Repo: s.URL, Chart: "web", Credentials: &fetchv1.FetchCredentials{CaBundle: s.ca()}}); err != nil {
		t.Error(err)
	}
}

func TestSendsNoCredentialsOverPlainHTTP(t *testing.T) {
	_, _, err := get(t, &fetchv1.FetchRequest{Repo: "http://charts.example.test", Chart: "web", Credentials: credentials()})
	wantProblem(t, err, invalidArgument, "plain HTTP", "basicHTTP")
	_, _, err = get(t, &fetchv1.FetchRequest{Chart: "http://u:canary@charts.example.test/x.tgz"})
	wantProblem(t, err, invalidArgument, "plain HTTP")
	if strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}

func TestTrustsWhatItIsTold(t *testing.T) {
	s := newServer(t, true)
	s.repository("", "web", "1.0.0")
	_, _, err := get(t, &fetchv1.FetchRequest{Repo: s.URL, Chart: "web"})
	wantProblem(t, err, unavailable, "not trusted", "cacerts")
	for _, creds := range []*fetchv1.FetchCredentials{{CaBundle: s.ca()}, {InsecureSkipTlsVerify: true}} {
		if _, _, err := get(t, &fetchv1.FetchRequest{Repo: s.URL, Chart: "web", Credentials: creds}); err != nil {
			t.Error(err)
		}
	}
	_, _, err = get(t, &fetchv1.FetchRequest{Repo: s.URL, Chart: "web", Credentials: &fetchv1.FetchCredentials{CaBundle: []byte("none")}})
	wantProblem(t, err, invalidArgument, "cacerts")
	wrong := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	_, _, err = get(t, &fetchv1.FetchRequest{Repo: wrong, Chart: "web", Credentials: &fetchv1.FetchCredentials{CaBundle: s.ca()}})
	wantProblem(t, err, unavailable, "another host")
}

func TestFetchesNothingFromLinkLocalAddresses(t *testing.T) {
	for _, text := range []string{
		"169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%1", "::ffff:169.254.169.254",
		"64:ff9b::a9fe:a9fe", "fd00:ec2::254", "100.100.100.200", "224.0.0.1",
	} {
		if checkIP(netip.MustParseAddr(text)) == nil {
			t.Errorf("%s is dialled", text)
		}
	}
	for _, text := range []string{"127.0.0.1", "10.0.0.1", "192.168.1.1", "::1", "2001:db8::1"} {
		if err := checkIP(netip.MustParseAddr(text)); err != nil {
			t.Error(err)
		}
	}
	s := newServer(t, false)
	s.redirect("/index.yaml", "http://169.254.169.254/latest/meta-data")
	for _, repo := range []string{
		"http://169.254.169.254/", "http://[fe80::1]/", "http://[::ffff:a9fe:a9fe]/", s.URL,
		"http://169.254.169.254:80@169.254.169.254/",
	} {
		_, _, err := get(t, &fetchv1.FetchRequest{Repo: repo, Chart: "web"})
		wantProblem(t, err, invalidArgument, "link-local")
	}
	// Other spellings are names for Go, not addresses; whatever they resolve
	// to is checked when it is dialled.
	for _, repo := range []string{"http://2852039166/", "http://0xa9fea9fe/", "http://0251.0376.0251.0376/"} {
		if _, _, err := get(t, &fetchv1.FetchRequest{Repo: repo, Chart: "web"}); err == nil {
			t.Errorf("%s was fetched from", repo)
		}
	}
}

func TestChecksTheAddressThatIsDialled(t *testing.T) {
	for address, ok := range map[string]bool{"169.254.1.1:80": false, "[fe80::1%eth0]:443": false, "10.1.1.1:80": true, "nonsense": false} {
		if err := checkAddress(address); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestAsksTheProxy(t *testing.T) {
	files, _, err := get(t, &fetchv1.FetchRequest{Repo: "http://charts.example.test/stable", Chart: "web"})
	if err != nil {
		t.Fatal(err)
	}
	wantNames(t, files, chartFiles...)
	_, _, err = get(t, &fetchv1.FetchRequest{Repo: "http://metadata.example.test/", Chart: "web"})
	wantProblem(t, err, unavailable, "502")
	_, _, err = get(t, &fetchv1.FetchRequest{Repo: "http://169.254.169.254/", Chart: "web"})
	wantProblem(t, err, invalidArgument, "link-local")
	proxied.Lock()
	defer proxied.Unlock()
	if slices.Contains(proxied.hosts, "169.254.169.254") {
		t.Error("the proxy was asked for a link-local address")
	}
}

func TestLimitsWhatIsDownloaded(t *testing.T) {
	s := newServer(t, false)
	s.mux.HandleFunc("/said/index.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "99999999999")
	})
	s.mux.HandleFunc("/endless/index.yaml", func(w http.ResponseWriter, _ *http.Request) {
		chunk := bytes.Repeat([]byte("# nothing\n"), 10000)
		for i := 0; ; i++ {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	for _, repo := range []string{"/said", "/endless"} {
		_, _, err := get(t, &fetchv1.FetchRequest{Repo: s.URL + repo, Chart: "web"})
		wantProblem(t, err, resourceExhausted, "50 MiB")
	}
}

func TestGivesUpSlowServers(t *testing.T) {
	defer func(old time.Duration) { stallTime = old }(stallTime)
	stallTime = 200 * time.Millisecond
	s := newServer(t, false)
	drip := func(pause time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for {
				w.Write([]byte("#"))
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(pause):
				}
			}
		}
	}
	s.mux.HandleFunc("/silent/index.yaml", drip(time.Hour))
	s.mux.HandleFunc("/slow/index.yaml", drip(50*time.Millisecond))
	defer func(old int64) { minRate = old }(minRate)
	minRate = 1 << 30
	for _, repo := range []string{"/silent", "/slow"} {
		begin := time.Now()
		_, _, err := get(t, &fetchv1.FetchRequest{Repo: s.URL + repo, Chart: "web"})
		wantProblem(t, err, unavailable, "too slowly")
		if time.Since(begin) > 10*time.Second {
			t.Error("it took too long")
		}
	}
}

func TestEndsRedirectLoops(t *testing.T) {
	s := newServer(t, false)
	s.redirect("/index.yaml", "/index.yaml")
	_, _, err := get(t, &fetchv1.FetchRequest{Repo: s.URL, Chart: "web"})
	wantProblem(t, err, unavailable, "redirects more than 10 times")
}

func TestRefusesHostileArchives(t *testing.T) {
	defer func(files int, bytes, size int64) { maxFiles, maxUnpackedBytes, maxFileBytes = files, bytes, size }(maxFiles, maxUnpackedBytes, maxFileBytes)
	maxFiles, maxUnpackedBytes, maxFileBytes = 50, 64<<20, 60<<20
	chart := file{name: "web/Chart.yaml", content: chartYAML("web", "1.0.0")}
	var many []file
	for i := 0; i < 60; i++ {
		many = append(many, file{name: "web/templates/" + strings.Repeat("x", i+1)})
	}
	for _, test := range []struct {
		about string
		files []file
		code  int32
		word  string
	}{
		{"traversal", []file{chart, {name: "web/../../etc/passwd"}}, invalidArgument, "leads out"},
		{"traversal before", []file{{name: "../x"}, chart}, invalidArgument, "leads out"},
		{"backslashes", []file{chart, {name: `web\..\..\x`}}, invalidArgument, "leads out"},
		{"absolute", []file{chart, {name: "/etc/passwd"}}, invalidArgument, "absolute"},
		{"drive", []file{chart, {name: "C:/x"}}, invalidArgument, "absolute"},
		{"symlink", []file{chart, {name: "web/values.yaml", kind: '2', link: "/etc/passwd"}}, invalidArgument, "symbolic link"},
		{"hard link", []file{chart, {name: "web/values.yaml", kind: '1', link: "web/Chart.yaml"}}, invalidArgument, "hard link"},
		{"device", []file{chart, {name: "web/null", kind: '3'}}, invalidArgument, "device"},
		{"pipe", []file{chart, {name: "web/fifo", kind: '6'}}, invalidArgument, "pipe"},
		{"control", []file{chart, {name: "web/a\nb"}}, invalidArgument, "no text"},
		{"no text", []file{chart, {name: "web/a\xff"}}, invalidArgument, "no text"},
		{"long", []file{chart, {name: "web/" + strings.Repeat("y", 2000)}}, invalidArgument, "1024 bytes"},
		{"dot", []file{{name: "web/Chart.yaml", content: "name: .\nversion: 1.0.0\n"}}, invalidArgument, `"." is not the name`},
		{"path", []file{{name: "web/Chart.yaml", content: "name: ../../x\nversion: 1.0.0\n"}}, invalidArgument, "is not the name"},
		{"nameless", []file{{name: "web/Chart.yaml", content: "version: 1.0.0\n"}}, invalidArgument, "no name"},
		{"no chart", []file{{name: "web/values.yaml"}}, invalidArgument, "no Chart.yaml"},
		{"two charts", []file{chart, {name: "api/Chart.yaml", content: chartYAML("api", "1")}}, invalidArgument, "several charts"},
		{"many", append([]file{chart}, many...), resourceExhausted, "files"},
		{"ratio", []file{chart, {name: "web/zero", content: strings.Repeat("\x00", 40<<20)}}, resourceExhausted, "times its size"},
	} {
		s := newServer(t, false)
		s.give("/web.tgz", tarGz(test.files...))
		_, _, err := get(t, &fetchv1.FetchRequest{Chart: s.URL + "/web.tgz"})
		if err == nil {
			t.Errorf("%s: no error", test.about)
			continue
		}
		wantProblem(t, err, test.code, test.word)
	}
}

func TestLimitsWhatIsUnpacked(t *testing.T) {
	defer func(bytes, size, ratio int64) { maxUnpackedBytes, maxFileBytes, maxRatio = bytes, size, ratio }(maxUnpackedBytes, maxFileBytes, maxRatio)
	maxUnpackedBytes, maxFileBytes, maxRatio = 3<<20, 2<<20, 1<<40
	chart := file{name: "web/Chart.yaml", content: chartYAML("web", "1.0.0")}
	for word, files := range map[string][]file{
		`"web/big" has more than 2 MiB`: {chart, {name: "web/big", content: strings.Repeat("b", 5<<19)}},
		"unpacks to more than 3 MiB":    {chart, {name: "web/a", content: strings.Repeat("a", 1<<20)}, {name: "web/b", content: strings.Repeat("b", 1<<20)}, {name: "web/c", content: strings.Repeat("c", 1<<20)}},
	} {
		s := newServer(t, false)
		s.give("/web.tgz", tarGz(files...))
		_, _, err := get(t, &fetchv1.FetchRequest{Chart: s.URL + "/web.tgz"})
		wantProblem(t, err, resourceExhausted, word)
	}
}

func TestSaysWhatIsNoArchive(t *testing.T) {
	s := newServer(t, false)
	for name, content := range map[string]string{"page": "<html>sign in", "empty": "", "text": "hello", "cut": string(chartArchive("web", "1")[:40])} {
		s.give("/"+name+".tgz", []byte(content))
	}
	for name, word := range map[string]string{"page": "web page", "empty": "empty", "text": ".tgz", "cut": "damaged"} {
		_, _, err := get(t, &fetchv1.FetchRequest{Chart: s.URL + "/" + name + ".tgz"})
		wantProblem(t, err, invalidArgument, word)
	}
}

func zipOf(files ...file) []byte {
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
		if f.kind == '2' {
			header.SetMode(os.ModeSymlink | 0o777)
		}
		w, err := archive.CreateHeader(header)
		if err != nil {
			panic(err)
		}
		io.WriteString(w, f.content)
	}
	archive.Close()
	return out.Bytes()
}

func TestTakesURLsAsGoGetterDoes(t *testing.T) {
	s := newServer(t, false)
	archive := tarGz(
		file{name: "pax_global_header", kind: 'g'},
		file{name: "repo-abc/README.md", content: "x"},
		file{name: "repo-abc/link", kind: '2', link: "/etc/passwd"},
		file{name: "repo-abc/charts/web/Chart.yaml", content: chartYAML("web", "1.2.3")},
		file{name: "repo-abc/charts/web/values.yaml", content: "a: 1\n"})
	s.give("/r.tar.gz", archive)
	s.give("/plain", chartArchive("web", "1.0.0"))
	s.give("/flat.zip", zipOf(file{name: "Chart.yaml", content: chartYAML("web", "2.0.0")}, file{name: "templates/a.yaml", content: "a"}))
	s.give("/linked.zip", zipOf(file{name: "Chart.yaml", content: chartYAML("web", "2.0.0")}, file{name: "values.yaml", content: "/etc/passwd", kind: '2'}))
	s.give("/out.zip", zipOf(file{name: "Chart.yaml", content: chartYAML("web", "2.0.0")}, file{name: "../x", content: "y"}))
	sum := digestOf(archive)
	for _, test := range []struct {
		chart, version string
		immutable      bool
		names          []string
	}{
		{"/r.tar.gz//repo-abc/charts/web", "1.2.3", false, []string{"Chart.yaml", "values.yaml"}},
		{"/r.tar.gz//*/charts/web?checksum=sha256:" + sum, "1.2.3", true, []string{"Chart.yaml", "values.yaml"}},
		{"/r.tar.gz//repo-abc/charts/web/?archive=tar.gz&checksum=" + sum, "1.2.3", true, []string{"Chart.yaml", "values.yaml"}},
		{"/plain", "1.0.0", false, chartFiles},
		{"/flat.zip", "2.0.0", false, []string{"Chart.yaml", "templates/a.yaml"}},
	} {
		for _, forced := range []string{"", "http::"} {
			files, result, err := get(t, &fetchv1.FetchRequest{Chart: forced + s.URL + test.chart})
			if err != nil {
				t.Errorf("%s: %v", test.chart, err)
				continue
			}
			wantNames(t, files, test.names...)
			if result.version != test.version || result.immutable != test.immutable {
				t.Errorf("%s gave %v", test.chart, result)
			}
		}
	}
	for chart, words := range map[string]string{
		s.URL + "/r.tar.gz//nothing":                           "no folder",
		s.URL + "/r.tar.gz//../x":                              "leads out",
		s.URL + "/r.tar.gz//repo-abc":                          "no Chart.yaml",
		s.URL + "/r.tar.gz?checksum=sha256:" + digestOf(nil):   "the checksum is",
		s.URL + "/r.tar.gz?checksum=sha256:12":                 "hexadecimal digits",
		s.URL + "/r.tar.gz?checksum=crc:12":                    "checksum=",
		s.URL + "/r.tar.gz?archive=tar.xz":                     "archive=tar.xz",
		s.URL + "/linked.zip":                                  "symbolic link",
		s.URL + "/out.zip":                                     "leads out",
		"git::https://u:canary@host.test/x.git//charts?ref=v1": "git::",
		"git://host.test/x":                                     "git://",
		"ssh://-oProxyCommand=x/y":                             "ssh://",
		"ext::sh -c x":                                         "ext::",
		"s3::https://s3.test/x":                                "s3::",
		"https://host.test/x.git":                              "write git:: before it",
	} {
		_, _, err := get(t, &fetchv1.FetchRequest{Chart: chart})
		if err == nil {
			t.Errorf("%s: no error", chart)
			continue
		}
		if !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", chart, err)
		}
	}
}

func TestPullsFromARegistry(t *testing.T) {
	o := newOCIServer(t, false, "team/web")
	for _, version := range []string{"1.0.0", "1.1.0", "2.0.0-rc.1", "1.1.0+build.5", "0.9.0"} {
		o.push("web", version)
	}
	o.tags = append(o.tags, "latest", "sha256-abc.sig")
	o.page = 2
	creds := &fetchv1.FetchCredentials{BasicHttp: true}
	host := strings.TrimSuffix(o.ref(), "/team/web")
	digest := "sha256:" + digestOf(o.manifests["1.0.0"])
	for _, test := range []struct {
		repo, chart, wanted, version string
		immutable                    bool
	}{
		{o.ref(), "", "", "1.1.0", false},
		{o.ref(), "", "^1.0", "1.1.0", false},
		{o.ref(), "", "1.0.0", "1.0.0", true},
		{o.ref(), "", "1.1.0+build.5", "1.1.0+build.5", true},
		{o.ref(), "", "~0", "0.9.0", false},
		{"", o.ref(), "1.0.0", "1.0.0", true},
		{"", o.ref() + ":1.0.0", "", "1.0.0", true},
		{"", o.ref() + "@" + digest, "", "", true},
		{o.ref(), "web", "1.0.0", "1.0.0", true},
		{host + "/team", "web", "1.0.0", "1.0.0", true},
		{host + "/team", "web", "", "1.1.0", false},
	} {
		files, result, err := get(t, &fetchv1.FetchRequest{Repo: test.repo, Chart: test.chart, Version: test.wanted, Credentials: creds})
		if err != nil {
			t.Errorf("%v: %v", test, err)
			continue
		}
		if result.version != test.version || result.immutable != test.immutable {
			t.Errorf("%v gave %v", test, result)
		}
		wantNames(t, files, chartFiles...)
	}
	for _, test := range []struct {
		repo, wanted string
		code         int32
		word         string
	}{
		{o.ref(), "3.0.0", notFound, `no version "3.0.0"`},
		{o.ref(), "^3", notFound, `the newest of`},
		{host + "/team/other", "", notFound, "does not exist"},
		{o.ref() + ":1.0.0", "2.0.0", invalidArgument, "say one of them"},
		{host, "", invalidArgument, "does not name a repository"},
		{host + "/a/../b", "", invalidArgument, "does not name a repository"},
		{o.ref() + "@sha256:12", "", invalidArgument, "64 digits"},
	} {
		_, _, err := get(t, &fetchv1.FetchRequest{Repo: test.repo, Version: test.wanted, Credentials: creds})
		if err == nil {
			t.Errorf("%v: no error", test)
			continue
		}
		wantProblem(t, err, test.code, test.word)
	}
	// TLS is the rule.
	if _, _, err := get(t, &fetchv1.FetchRequest{Repo: o.ref()}); err == nil {
		t.Error("plain HTTP without being told")
	}
}

func TestAuthenticatesToARegistry(t *testing.T) {
	for _, token := range []bool{false, true} {
		o := newOCIServer(t, true, "team/web")
		storage := newServer(t, true)
		o.user, o.password = user, password
		if token {
			o.realm = o.URL + "/token"
		}
		o.push("web", "1.0.0")
		for digest, blob := range o.blobs {
			storage.give("/"+digest, blob)
		}
		o.blobHost = storage.URL
		creds := credentials()
		creds.CaBundle = append(o.ca(), storage.ca()...)
		files, _, err := get(t, &fetchv1.FetchRequest{Repo: o.ref(), Credentials: creds})
		if err != nil {
			t.Fatal(err)
		}
		wantNames(t, files, chartFiles...)
		if storage.sawCredentials() || len(storage.requests()) != 1 {
			t.Errorf("the storage was asked %v", storage.requests())
		}

		_, _, err = get(t, &fetchv1.FetchRequest{Repo: o.ref(), Credentials: &fetchv1.FetchCredentials{CaBundle: o.ca()}})
		wantProblem(t, err, unauthenticated)
		wrong := &fetchv1.FetchCredentials{Username: user, Password: "canary-wrong", CaBundle: o.ca()}
		_, _, err = get(t, &fetchv1.FetchRequest{Repo: o.ref(), Credentials: wrong})
		wantProblem(t, err, unauthenticated)
		if strings.Contains(err.Error(), "canary") {
			t.Error(err)
		}
	}
}

func TestSendsNoCredentialsToAForeignTokenService(t *testing.T) {
	o := newOCIServer(t, true, "web")
	thief := newServer(t, true)
	thief.give("/token", []byte(`{"token":"x"}`))
	o.user, o.password = user, password
	o.realm = thief.URL + "/token"
	o.push("web", "1.0.0")
	creds := credentials()
	creds.CaBundle = append(o.ca(), thief.ca()...)
	_, _, err := get(t, &fetchv1.FetchRequest{Repo: o.ref(), Credentials: creds})
	wantProblem(t, err, unauthenticated)
	if thief.sawCredentials() {
		t.Error("they were sent")
	}
	o.realm = "http://169.254.169.254/token"
	_, _, err = get(t, &fetchv1.FetchRequest{Repo: o.ref(), Credentials: creds})
	wantProblem(t, err, invalidArgument, "link-local")
}

func TestForwardsCredentialsWithinADomainOnly(t *testing.T) {
	for _, test := range []struct {
		registry, realm string
		skip, want      bool
	}{
		{"https://registry.example.com", "https://example.com/jwt/auth", false, true},
		{"https://registry.example.org", "https://auth.example.org/token", false, true},
		{"https://registry.example.org", "http://auth.example.org/token", false, false},
		{"https://registry.example.org", "https://auth.example.org/token", true, false},
		{"http://registry.example.com", "https://example.com/jwt/auth", false, false},
		{"https://a.co.uk", "https://b.co.uk", false, false},
		{"https://10.0.0.1", "https://10.0.0.2", false, false},
	} {
		base, _, err := parseURL(test.registry)
		if err != nil {
			t.Fatal(err)
		}
		realm, _, err := parseURL(test.realm)
		if err != nil {
			t.Fatal(err)
		}
		c, _ := newClient(&fetchv1.FetchCredentials{InsecureSkipTlsVerify: test.skip})
		r := &registry{base: base, d: &download{client: c}}
		if got := r.mayForward(realm); got != test.want {
			t.Errorf("%v: %v", test, got)
		}
	}
}

func TestBelievesNoRegistry(t *testing.T) {
	o := newOCIServer(t, false, "web")
	o.push("web", "1.0.0")
	for digest := range o.blobs {
		o.blobs[digest] = chartArchive("evil", "1.0.0")
	}
	creds := &fetchv1.FetchCredentials{BasicHttp: true}
	_, _, err := get(t, &fetchv1.FetchRequest{Repo: o.ref(), Credentials: creds})
	wantProblem(t, err, unavailable, "another archive")
	for tag, manifest := range map[string]string{
		"2.0.0": `null`,
		"3.0.0": `[]`,
		"4.0.0": `{"layers":[{"mediaType":"` + chartLayerType + `","digest":"../../x","size":-1}]}`,
		"5.0.0": `{"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:00"}]}`,
		"6.0.0": `{"layers":[{"mediaType":"` + chartLayerType + `","digest":"sha256:` + digestOf(nil) + `","size":9223372036854775807}]}`,
		"7.0.0": `{"manifests":[{"digest":"x"}]}`,
	} {
		o.manifests[tag] = []byte(manifest)
		_, _, err := get(t, &fetchv1.FetchRequest{Repo: o.ref(), Version: tag, Credentials: creds})
		if err == nil {
			t.Errorf("%s: no error", manifest)
		}
	}
}

func TestPullsWhatAnIndexSaysIsInARegistry(t *testing.T) {
	o := newOCIServer(t, false, "charts/web")
	o.push("web", "1.0.0")
	s := newServer(t, false)
	s.give("/index.yaml", []byte("entries:\n  web:\n  - version: 1.0.0\n    urls: ["+o.ref()+":1.0.0]\n"))
	creds := credentials()
	creds.BasicHttp = true
	files, result, err := get(t, &fetchv1.FetchRequest{Repo: s.URL, Chart: "web", Credentials: creds})
	if err != nil {
		t.Fatal(err)
	}
	wantNames(t, files, chartFiles...)
	if result.version != "1.0.0" {
		t.Error(result)
	}
	if o.sawCredentials() {
		t.Error("the registry got the repository's credentials")
	}
}

func TestFetchesDependencies(t *testing.T) {
	s := newServer(t, false)
	s.repository("/stable", "db", "1.0.0", "1.1.0", "2.0.0")
	o := newOCIServer(t, false, "charts/cache")
	o.push("cache", "0.1.0")
	chart := `
apiVersion: v2
name: app
version: 1.0.0
dependencies:
- name: db
  version: ^1
  repository: ` + s.URL + `/stable
- name: db
  version: ^2
  alias: archive
  repository: ` + s.URL + `/stable
- name: cache
  version: ">=0"
  repository: ` + strings.TrimSuffix(o.ref(), "/cache") + `
- name: local
  version: 1.0.0
  repository: file://../local
- name: vendored
  version: 1.0.0
`
	lock := `
dependencies:
- name: db
  repository: ` + s.URL + `/stable/
  version: 1.0.0
`
	request := &fetchv1.FetchRequest{ChartYaml: []byte(chart), ChartLock: []byte(lock), Credentials: &fetchv1.FetchCredentials{BasicHttp: true}}
	files, _, err := get(t, request)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, folder := range []string{"charts/db-1.0.0/", "charts/db-2.0.0/", "charts/cache/"} {
		for _, name := range chartFiles {
			want = append(want, folder+name)
		}
	}
	wantNames(t, files, want...)

	// A lock that does not fit any more does not count.
	request.ChartYaml = []byte("name: app\ndependencies:\n- name: db\n  version: ^1.1\n  repository: " + s.URL + "/stable\n")
	files, _, err = get(t, request)
	if err != nil {
		t.Fatal(err)
	}
	if files["charts/db/Chart.yaml"] != chartYAML("db", "1.1.0") {
		t.Error(files)
	}

	for text, words := range map[string]string{
		"dependencies:\n- {name: .., repository: https://x.test}\n":                   "not the name of a chart",
		"dependencies:\n- {name: db, version: 9, repository: " + s.URL + "/stable}\n": `dependency "db"`,
		"dependencies:\n- {name: db, version: 1, repository: \"@stable\"}\n":          "write its URL",
		"dependencies: 5\n": "cannot be read",
		"dependencies:\n- {name: db, version: 1, repository: http://169.254.169.254}\n": "link-local",
	} {
		_, _, err := get(t, &fetchv1.FetchRequest{ChartYaml: []byte(text)})
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSendsCredentialsToTheDependenciesThatAreNamed(t *testing.T) {
	ours, theirs := newServer(t, false), newServer(t, false)
	ours.guarded("/index.yaml", user, password, indexOf("db", "1.0.0"))
	ours.guarded("/charts/db-1.0.0.tgz", user, password, chartArchive("db", "1.0.0"))
	theirs.repository("", "cache", "1.0.0")
	creds := credentials()
	creds.DependencyRepos = []string{ours.URL}
	files, _, err := get(t, &fetchv1.FetchRequest{ChartYaml: []byte(`
dependencies:
- {name: db, version: 1, repository: "` + ours.URL + `"}
- {name: cache, version: 1, repository: "` + theirs.URL + `"}
`), Credentials: creds})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 6 || theirs.sawCredentials() {
		t.Error(files, theirs.requests())
	}
}

func TestDownloadsAnIndexAnewOnlyWhenItChanged(t *testing.T) {
	s := newServer(t, false)
	tag, whole := `"1"`, 0
	index := indexOf("web", "1.0.0")
	s.mux.HandleFunc("/index.yaml", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		whole++
		w.Write(index)
	})
	for _, version := range []string{"1.0.0", "1.1.0"} {
		s.give("/charts/web-"+version+".tgz", chartArchive("web", version))
	}
	f := newFetcher()
	request := &fetchv1.FetchRequest{Repo: s.URL, Chart: "web"}
	for i := 0; i < 3; i++ {
		if _, result, err := getWith(t, f, request); err != nil || result.version != "1.0.0" {
			t.Fatal(result, err)
		}
	}
	if whole != 1 {
		t.Errorf("%d downloads", whole)
	}
	tag, index = `"2"`, indexOf("web", "1.0.0", "1.1.0")
	if _, result, err := getWith(t, f, request); err != nil || result.version != "1.1.0" {
		t.Fatal(result, err)
	}
	// Others have no part in it.
	if _, _, err := getWith(t, f, &fetchv1.FetchRequest{Repo: s.URL, Chart: "web", Credentials: credentials()}); err != nil {
		t.Fatal(err)
	}
	if whole != 3 {
		t.Errorf("%d downloads", whole)
	}
}

// A server tells when a file was written to the second only (RFC 9110, 8.8.2.2).
func TestAnIndexThatIsWrittenTwiceInOneSecondIsSeen(t *testing.T) {
	s := newServer(t, false)
	written := time.Now().UTC().Truncate(time.Second)
	now, whole := written, 0
	index := indexOf("web", "1.0.0")
	s.mux.HandleFunc("/index.yaml", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Last-Modified", written.Format(http.TimeFormat))
		w.Header().Set("Date", now.Format(http.TimeFormat))
		if r.Header.Get("If-Modified-Since") == written.Format(http.TimeFormat) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		whole++
		w.Write(index)
	})
	for _, version := range []string{"1.0.0", "1.1.0"} {
		s.give("/charts/web-"+version+".tgz", chartArchive("web", version))
	}
	f := newFetcher()
	request := &fetchv1.FetchRequest{Repo: s.URL, Chart: "web"}
	if _, result, err := getWith(t, f, request); err != nil || result.version != "1.0.0" {
		t.Fatal(result, err)
	}
	index = indexOf("web", "1.0.0", "1.1.0")
	if _, result, err := getWith(t, f, request); err != nil || result.version != "1.1.0" {
		t.Fatal(result, err)
	}
	now = now.Add(time.Second)
	for i := 0; i < 3; i++ {
		if _, result, err := getWith(t, f, request); err != nil || result.version != "1.1.0" {
			t.Fatal(result, err)
		}
	}
	if whole != 3 {
		t.Errorf("%d downloads", whole)
	}
}

func TestReadsEveryFormOfAnIndex(t *testing.T) {
	want := []indexEntry{{Version: "1.0.0", URLs: []string{"a.tgz"}, Digest: "00"}}
	for _, text := range []string{
		"entries:\n  web:\n  - version: 1.0.0\n    urls:\n    - a.tgz\n    digest: \"00\"\n",
		"entries:\n  web:\n    - version: 1.0.0\n      urls: [a.tgz]\n      digest: '00'\n  zoo:\n    - version: 2.0.0\n",
		"entries:\n  api:\n  - version: 2.0.0\n    description: |\n      web:\n      - version: 9\n  web:\n  - version: 1.0.0\n    urls:\n    - a.tgz\n    digest: '00'\ngenerated: x\n",
		"entries: {web: [{version: 1.0.0, urls: [a.tgz], digest: '00'}]}\n",
		`{"apiVersion":"v1","entries":{"web":[{"version":"1.0.0","urls":["a.tgz"],"digest":"00"}]}}`,
		"entries:\n  \"web\":\n  - version: 1.0.0\n    urls: [a.tgz]\n    digest: '00'\n",
		"entries:\n  api: &all\n  - version: 1.0.0\n    urls: [a.tgz]\n    digest: '00'\n  web: *all\n",
		"entries:\n  api:\n  - &one\n    version: 1.0.0\n    urls: [a.tgz]\n    digest: '00'\n  web:\n  - *one\n",
		"apiVersion: v1\r\nentries:\r\n  web:\r\n  - version: 1.0.0\r\n    urls:\r\n    - a.tgz\r\n    digest: '00'\r\n",
		"# top\nentries:\n# between\n  web:\n  # inside\n\n  - version: 1.0.0\n    urls: [a.tgz]\n    digest: '00'\n",
		"entries:\n  web: [{version: 1.0.0, urls: [a.tgz], digest: '00'}]\n",
	} {
		got, err := parseIndex([]byte(text), "web")
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q gave %v, %v", text, got, err)
		}
		var whole struct {
			Entries map[string][]indexEntry `yaml:"entries"`
		}
		if err := yaml.Unmarshal([]byte(text), &whole); err != nil || !reflect.DeepEqual(whole.Entries["web"], want) {
			t.Errorf("the test is wrong: %q", text)
		}
	}
	for _, text := range []string{"", "entries: 5", "<html>", "entries:\n  web: 7\n", "entries:\n  web:\n  - [", "a: &a [*a]"} {
		got, err := parseIndex([]byte(text), "web")
		if len(got) > 0 {
			t.Errorf("%q gave %v, %v", text, got, err)
		}
	}
}

func TestCutsOneChartOutOfALargeIndex(t *testing.T) {
	var index bytes.Buffer
	index.WriteString("apiVersion: v1\nentries:\n")
	for i := 0; i < 500; i++ {
		name := "chart-" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26)
		index.WriteString("  " + name + ":\n  - version: 1.0.0\n    urls: [" + name + ".tgz]\n")
	}
	index.WriteString("  web:\n  - version: 4.0.0\n    urls: [web.tgz]\n")
	lines := cutEntry(index.Bytes(), "web")
	if len(lines) > 100 || len(lines) == 0 {
		t.Errorf("%d bytes: %s", len(lines), lines)
	}
}

func TestKeepsSecretsOutOfErrors(t *testing.T) {
	creds := credentials()
	err := failure(unavailable, "it said %s and %s", password, "Basic cm9ib3Q6Y2FuYXJ5LTdmM2ElLzpwdw==")
	wire := toWire(t.Context(), creds, err)
	if strings.Contains(wire.Message, "canary") || strings.Contains(wire.Message, "cm9ib3Q6") {
		t.Error(wire.Message)
	}
	wire = toWire(t.Context(), creds, failure(unavailable, "a\x1b[31mb\u202ec%s", strings.Repeat("long", 2000)))
	if strings.ContainsAny(wire.Message, "\x1b\u202e") || len(wire.Message) > maxMessage+10 {
		t.Error(wire.Message)
	}
	for raw, want := range map[string]string{
		"https://u:canary@host/p?token=canary#canary": "https://host/p",
		"u:canary@host/p":     "host/p",
		"git@host:x/y":        "host:x/y",
		"oci://u:canary@host": "oci://host",
		"plain/path":          "plain/path",
	} {
		if got := shownText(raw); got != want {
			t.Errorf("%s is shown as %s", raw, got)
		}
	}
}

func TestAnswersInFrames(t *testing.T) {
	s := newServer(t, false)
	s.give("/big.tgz", tarGz(
		file{name: "web/Chart.yaml", content: chartYAML("web", "1.0.0")},
		file{name: "web/one", content: strings.Repeat("1", 3<<20)},
		file{name: "web/two", content: strings.Repeat("2", 3<<20)},
		file{name: "web/three", content: strings.Repeat("3", 3<<20)}))
	var in, out bytes.Buffer
	for id, chart := range map[uint64]string{1: s.URL + "/big.tgz", 2: s.URL + "/none.tgz"} {
		raw, _ := proto.Marshal(&fetchv1.FetchRequest{Id: id, Chart: chart, TimeoutMilliseconds: 60000})
		if err := writeFrame(&in, raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := serve(&in, &out, newFetcher()); err != nil {
		t.Fatal(err)
	}
	files, frames, errors := map[uint64]int{}, map[uint64]int{}, map[uint64]int32{}
	for {
		raw, err := readFrame(&out)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		response := &fetchv1.FetchResponse{}
		if err := proto.Unmarshal(raw, response); err != nil {
			t.Fatal(err)
		}
		frames[response.Id]++
		files[response.Id] += len(response.Files)
		if response.Last {
			errors[response.Id] = response.GetError().GetCode()
		}
	}
	if files[1] != 4 || frames[1] < 3 || errors[1] != 0 || files[2] != 0 || errors[2] != notFound {
		t.Error(files, frames, errors)
	}
	if err := serve(strings.NewReader("\x00\x00\x00\x02\xff\xff"), io.Discard, newFetcher()); err == nil {
		t.Error("what is no request was taken")
	}
}

func TestStopsWhenTheTimeIsOver(t *testing.T) {
	s := newServer(t, false)
	s.mux.HandleFunc("/index.yaml", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	raw, _ := proto.Marshal(&fetchv1.FetchRequest{Id: 1, Repo: s.URL, Chart: "web", TimeoutMilliseconds: 100})
	var in, out bytes.Buffer
	if err := writeFrame(&in, raw); err != nil {
		t.Fatal(err)
	}
	if err := serve(&in, &out, newFetcher()); err != nil {
		t.Fatal(err)
	}
	frame, err := readFrame(&out)
	if err != nil {
		t.Fatal(err)
	}
	response := &fetchv1.FetchResponse{}
	if err := proto.Unmarshal(frame, response); err != nil {
		t.Fatal(err)
	}
	if response.Error.GetCode() != unavailable || !strings.Contains(response.Error.Message, "time") {
		t.Error(response.Error)
	}
}

// The generated code must be made from the proto of today. Bazel puts the
// descriptors there; plain `go test` has none.
func TestGeneratedCodeAgreesWithTheProto(t *testing.T) {
	raw, err := os.ReadFile("fetchv1/testdata/fetch.binpb")
	if os.IsNotExist(err) {
		t.Log("no descriptors here: run it with Bazel")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(raw, set); err != nil {
		t.Fatal(err)
	}
	want := set.File[len(set.File)-1]
	want.SourceCodeInfo = nil
	got := protodesc.ToFileDescriptorProto(fetchv1.File_flotilla_render_v1_fetch_proto)
	if !proto.Equal(got, want) {
		t.Errorf("fetchv1/fetch.pb.go is out of date: run manager/charts/fetcher/generate.sh\ngot  %v\nwant %v", got, want)
	}
}
