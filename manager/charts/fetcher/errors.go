// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"flotilla.dev/manager/charts/fetcher/fetchv1"
)

// Canonical codes. The first five are the user's to mend.
const (
	invalidArgument   = 3
	notFound          = 5
	permissionDenied  = 7
	unauthenticated   = 16
	resourceExhausted = 8
	internal          = 13
	unavailable       = 14
)

const maxMessage = 2000

// problem is an error with a code, made for people to read.
type problem struct {
	code    int32
	message string
}

func (p *problem) Error() string { return p.message }

func failure(code int32, format string, args ...any) error {
	return &problem{code: code, message: fmt.Sprintf(format, args...)}
}

// within puts what was being done before an error's text.
func within(doing string, err error) error {
	var p *problem
	if errors.As(err, &p) {
		return &problem{code: p.code, message: doing + ": " + p.message}
	}
	return &problem{code: unavailable, message: doing + ": " + describe(err)}
}

func isCode(err error, code int32) bool {
	var p *problem
	return errors.As(err, &p) && p.code == code
}

// toWire makes the last frame's error: no credential, no control characters,
// bounded.
func toWire(ctx context.Context, creds *fetchv1.FetchCredentials, err error) *fetchv1.FetchError {
	var p *problem
	if !errors.As(err, &p) {
		p = &problem{code: unavailable, message: describe(err)}
	}
	if p.code == unavailable && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		p = &problem{code: unavailable, message: p.message + " (the time for a download is over)"}
	}
	text := withoutSecrets(p.message, creds)
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "..."
	}
	return &fetchv1.FetchError{Code: p.code, Message: text}
}

// withoutSecrets is the last line of defence: messages are made of parts that
// hold none.
func withoutSecrets(text string, creds *fetchv1.FetchCredentials) string {
	for _, secret := range []string{creds.GetPassword(), string(creds.GetSshPrivateKey())} {
		if len(secret) < 3 {
			continue
		}
		pair := creds.GetUsername() + ":" + secret
		for _, form := range []string{
			base64.StdEncoding.EncodeToString([]byte(pair)), secret,
			url.QueryEscape(secret), url.PathEscape(secret),
			base64.StdEncoding.EncodeToString([]byte(secret)),
		} {
			text = strings.ReplaceAll(text, form, "***")
		}
	}
	return text
}

// describe tells a network error in words, without the URL that Go puts there:
// it may hold credentials.
func describe(err error) string {
	var p *problem
	if errors.As(err, &p) {
		return p.message
	}
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unknown):
		return "the server's certificate is signed by an authority that is not trusted: add it as cacerts to the Secret"
	case errors.As(err, &host):
		return "the server's certificate is for another host"
	case errors.As(err, &invalid):
		if invalid.Reason == x509.Expired {
			return "the server's certificate has expired or is not valid yet"
		}
		return "the server's certificate is not valid: " + invalid.Error()
	case errors.As(err, &verification):
		return "the server's certificate is not valid"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, context.Canceled):
		return "it was given up"
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		if dns.IsNotFound {
			return "there is no host " + dns.Name
		}
		return "the name " + dns.Name + " cannot be looked up"
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "no answer in time"
	}
	return err.Error()
}

// shown is a URL as people may see it: no user, no query, no fragment.
func shown(u *url.URL) string {
	if u.Scheme == "" || u.Host == "" {
		return u.Path
	}
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

// shownText is the same for text that may be no URL at all.
func shownText(raw string) string {
	scheme, rest, found := strings.Cut(raw, "://")
	if !found {
		rest = raw
	}
	rest, _, _ = strings.Cut(rest, "?")
	rest, _, _ = strings.Cut(rest, "#")
	host, path, slash := strings.Cut(rest, "/")
	if at := strings.LastIndex(host, "@"); at >= 0 {
		host = host[at+1:]
	}
	text := host
	if slash {
		text += "/" + path
	}
	if found {
		text = scheme + "://" + text
	}
	return text
}
