// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"flotilla.dev/manager/charts/fetcher/fetchv1"
)

const (
	maxIndexBytes   = 50 << 20
	maxArchiveBytes = 50 << 20
	maxSmallBytes   = 4 << 20
	maxRedirects    = 10
	maxHeaderBytes  = 64 << 10
	maxURLBytes     = 8 << 10

	connectTimeout = 15 * time.Second
	headerTimeout  = 30 * time.Second
)

// Bodies that come slower than this are given up: after the first stallTime
// each must have brought minRate bytes a second on average, and none may pause
// for so long. Variables so that tests are quick.
var (
	stallTime       = 20 * time.Second
	minRate   int64 = 1 << 10
)

// origin is what credentials belong to: exact scheme, host and port.
type origin struct {
	scheme, host, port string
}

func originOf(u *url.URL) origin {
	o := origin{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Hostname()), port: u.Port()}
	if o.port == "" {
		switch o.scheme {
		case "http":
			o.port = "80"
		case "https":
			o.port = "443"
		}
	}
	return o
}

func (o origin) loopback() bool {
	if o.host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(o.host)
	return err == nil && address.IsLoopback()
}

// client speaks HTTP for one request of the manager: its credentials, its
// trust, its limits.
type client struct {
	creds   *fetchv1.FetchCredentials
	http    *http.Client
	origins map[origin]bool
	// Of URLs that hold a user themselves.
	users map[origin]*url.Userinfo
}

func newClient(creds *fetchv1.FetchCredentials) (*client, error) {
	if creds == nil {
		creds = &fetchv1.FetchCredentials{}
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: creds.InsecureSkipTlsVerify}
	if len(creds.CaBundle) > 0 {
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(creds.CaBundle) {
			return nil, failure(invalidArgument, "cacerts of the credentials holds no PEM certificate")
		}
		trust.RootCAs = roots
	}
	// What is checked here is what is dialled: no second look-up in between.
	dialer := &net.Dialer{
		Timeout: connectTimeout,
		Control: func(_, address string, _ syscall.RawConn) error { return checkAddress(address) },
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        trust,
		TLSHandshakeTimeout:    connectTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        10 * time.Second,
		ForceAttemptHTTP2:      true,
	}
	return &client{
		creds: creds,
		http: &http.Client{
			Transport: transport,
			// Redirects are followed in get(), with our rules.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		origins: map[origin]bool{},
		users:   map[origin]*url.Userinfo{},
	}, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

func (c *client) hasCredentials() bool {
	return c.creds.Username != "" || c.creds.Password != ""
}

// Addresses at which clouds keep their machines' secrets.
var refusedNetworks = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("fd00:ec2::254/128"),
	netip.MustParsePrefix("100.100.100.200/32"),
}

// Prefixes of IPv6 addresses that end in an IPv4 address: NAT64.
var translated = netip.MustParsePrefix("64:ff9b::/96")

func checkIP(address netip.Addr) error {
	address = address.Unmap().WithZone("")
	if translated.Contains(address) {
		raw := address.As16()
		address = netip.AddrFrom4([4]byte(raw[12:]))
	}
	for _, network := range refusedNetworks {
		if network.Contains(address) {
			return failure(invalidArgument, "%s is a link-local address of the machine's own services: nothing is fetched from it", address)
		}
	}
	if address.IsMulticast() {
		return failure(invalidArgument, "%s is no address of a server", address)
	}
	return nil
}

func checkAddress(hostPort string) error {
	parsed, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return failure(invalidArgument, "%q is no address", hostPort)
	}
	return checkIP(parsed.Addr())
}

// parseURL takes http and https only. The URL that it gives holds no user.
func parseURL(raw string) (*url.URL, *url.Userinfo, error) {
	if len(raw) > maxURLBytes {
		return nil, nil, failure(invalidArgument, "the URL is longer than %d bytes", maxURLBytes)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, nil, failure(invalidArgument, "%s is not a URL", shownText(raw))
	}
	u.Scheme = strings.ToLower(u.Scheme)
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, nil, failure(invalidArgument, "%s: charts are fetched from https://, http:// and oci:// only", shown(u))
	}
	if u.Hostname() == "" || u.Opaque != "" {
		return nil, nil, failure(invalidArgument, "%s names no host", shownText(raw))
	}
	if address, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := checkIP(address); err != nil {
			return nil, nil, err
		}
	}
	user := u.User
	u.User = nil
	u.Fragment = ""
	return u, user, nil
}

// trust lets the request's credentials go to this URL's host. Those that the
// URL holds itself go to its own host.
func (c *client) trust(u *url.URL, own *url.Userinfo) error {
	if !c.hasCredentials() && own == nil {
		return nil
	}
	o := originOf(u)
	if o.scheme != "https" && !o.loopback() && !c.creds.BasicHttp {
		return failure(invalidArgument,
			"credentials are not sent to %s over plain HTTP: use https://, or add basicHTTP: \"true\" to the Secret if anybody on the way may read them", u.Host)
	}
	if c.hasCredentials() {
		c.origins[o] = true
	} else {
		c.users[o] = own
	}
	return nil
}

// authorize adds what may be sent to the request's host, and says whether
// anything was.
func (c *client) authorize(request *http.Request) bool {
	o := originOf(request.URL)
	if c.origins[o] {
		request.SetBasicAuth(c.creds.Username, c.creds.Password)
		return true
	}
	if user := c.users[o]; user != nil {
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
		return true
	}
	return false
}

// exchange is one HTTP request, redirects followed.
type exchange struct {
	url    *url.URL
	header http.Header
	// Sent to the first URL's origin only, instead of the credentials.
	authorization string
	// No credentials of any kind.
	anonymous bool
	// Of the body, after decompression.
	limit int64
	// What it is, for messages: "the index".
	what string
}

type reply struct {
	status int
	header http.Header
	body   []byte
	// Whether credentials went along to the last host.
	authorized bool
	url        *url.URL
}

func (c *client) get(ctx context.Context, e exchange) (*reply, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first := originOf(e.url)
	u := e.url
	for redirects := 0; ; redirects++ {
		if redirects > maxRedirects {
			return nil, failure(unavailable, "%s redirects more than %d times", shown(e.url), maxRedirects)
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, failure(invalidArgument, "%s cannot be asked for", shown(u))
		}
		for key, values := range e.header {
			request.Header[key] = values
		}
		request.Header.Set("User-Agent", "Flotilla")
		authorized := false
		if e.authorization != "" {
			if originOf(u) == first {
				request.Header.Set("Authorization", e.authorization)
				authorized = true
			}
		} else if !e.anonymous {
			authorized = c.authorize(request)
		}
		response, err := c.http.Do(request)
		if err != nil {
			return nil, within("fetching "+shown(u), err)
		}
		if target := response.Header.Get("Location"); target != "" && isRedirect(response.StatusCode) {
			response.Body.Close()
			next, err := u.Parse(target)
			if err != nil {
				return nil, failure(unavailable, "%s redirects to what is not a URL", shown(u))
			}
			// A user in there is not ours to send.
			next, _, err = parseURL(next.String())
			if err != nil {
				return nil, within(shown(u)+" redirects to a place that is refused", err)
			}
			if u.Scheme == "https" && next.Scheme != "https" && (c.hasCredentials() || len(c.users) > 0 || e.authorization != "") {
				return nil, failure(invalidArgument, "%s redirects from https:// to http:// (%s): refused, because the download has credentials", shown(u), next.Host)
			}
			u = next
			continue
		}
		body, err := readBody(response, cancel, e.limit, e.what)
		response.Body.Close()
		if err != nil {
			return nil, within("fetching "+shown(u), err)
		}
		return &reply{status: response.StatusCode, header: response.Header, body: body, authorized: authorized, url: u}, nil
	}
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

var errSlow = errors.New("it comes too slowly")

// readBody reads at most `limit` bytes, and not for ever.
func readBody(response *http.Response, cancel context.CancelFunc, limit int64, what string) ([]byte, error) {
	if response.ContentLength > limit {
		return nil, failure(resourceExhausted, "%s has %d MiB, more than the limit of %d MiB", what, response.ContentLength>>20, limit>>20)
	}
	begin := time.Now()
	pause := time.AfterFunc(stallTime, cancel)
	defer pause.Stop()
	var body bytes.Buffer
	if response.ContentLength > 0 {
		// As much as is likely, not as much as is said.
		body.Grow(int(min(response.ContentLength, 1<<20)))
	}
	chunk := make([]byte, 64<<10)
	for {
		n, err := response.Body.Read(chunk)
		body.Write(chunk[:n])
		if int64(body.Len()) > limit {
			return nil, failure(resourceExhausted, "%s has more than the limit of %d MiB", what, limit>>20)
		}
		if errors.Is(err, io.EOF) {
			return body.Bytes(), nil
		}
		if err != nil {
			if !pause.Stop() && errors.Is(err, context.Canceled) {
				err = errSlow
			}
			return nil, err
		}
		passed := time.Since(begin)
		if passed > stallTime && int64(body.Len()) < minRate*int64(passed/time.Second) {
			return nil, errSlow
		}
		if n > 0 {
			pause.Reset(stallTime)
		}
	}
}

// statusProblem tells what an answer other than 200 means.
func (r *reply) problem() error {
	where := shown(r.url)
	switch {
	case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden:
		if r.authorized {
			return failure(unauthenticated, "%s refused the credentials (%d)", where, r.status)
		}
		return failure(unauthenticated, "%s wants credentials (%d) and none were sent", where, r.status)
	case r.status == http.StatusNotFound || r.status == http.StatusGone:
		return failure(notFound, "%s does not exist (%d)", where, r.status)
	case r.status == http.StatusProxyAuthRequired:
		return failure(unavailable, "the proxy on the way to %s wants credentials (%d)", where, r.status)
	default:
		return failure(unavailable, "%s answered with status %d", where, r.status)
	}
}
