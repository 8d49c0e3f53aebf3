// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	cryptorand "crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"sort"
	"text/template"
	"time"

	// Time zones: no files can be opened.
	_ "time/tzdata"

	"github.com/Masterminds/sprig/v3"
)

// world is what templates see besides the chart and its values: a clock that
// stands at the commit's time, and random functions that repeat themselves.
//
// Each random function draws from a stream of its own, keyed by the seed, the
// function's name, its arguments and how often it was called with them: a new
// call elsewhere in the chart leaves the passwords of the others alone.
type world struct {
	seed []byte
	now  time.Time

	calls      map[string]int
	usedRandom bool
	usedNow    bool
	lookups    int
	// getHostByName gives "" as Helm's, not an error.
	disableDNS bool
	warnings   []string
}

func newWorld(seed []byte, nowSeconds int64) *world {
	return &world{seed: seed, now: time.Unix(nowSeconds, 0).UTC(), calls: map[string]int{}}
}

var errNoSeed = errors.New("a random function was called and there is no seed")

// stream gives the random bytes of one call.
func (w *world) stream(function string, args ...any) (io.Reader, error) {
	w.usedRandom = true
	if len(w.seed) == 0 {
		return nil, errNoSeed
	}
	call, err := json.Marshal([]any{function, args})
	if err != nil {
		return nil, fmt.Errorf("the arguments of %s cannot be used", function)
	}
	n := w.calls[string(call)]
	w.calls[string(call)]++
	mac := hmac.New(sha256.New, w.seed)
	fmt.Fprintf(mac, "%d %s", n, call)
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		return nil, err
	}
	return cipher.StreamReader{S: cipher.NewCTR(block, make([]byte, aes.BlockSize)), R: zeros{}}, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// with runs f while crypto/rand reads from the stream. The worker renders one
// chart at a time, so nothing else sees it.
func (w *world) with(f func() string, function string, args ...any) (string, error) {
	stream, err := w.stream(function, args...)
	if err != nil {
		return "", err
	}
	saved := cryptorand.Reader
	cryptorand.Reader = stream
	defer func() { cryptorand.Reader = saved }()
	return f(), nil
}

// theTime is what `now` gives.
func (w *world) theTime() time.Time {
	w.usedNow = true
	return w.now
}

// sprig gives Sprig's functions with ours over them.
func (w *world) sprig() template.FuncMap {
	all := sprig.TxtFuncMap()
	for name, f := range w.functions() {
		all[name] = f
	}
	return all
}

// functions override Helm's and Sprig's.
func (w *world) functions() template.FuncMap {
	original := sprig.TxtFuncMap()
	counted := func(name string) func(int) (string, error) {
		f := original[name].(func(int) string)
		return func(count int) (string, error) {
			return w.with(func() string { return f(count) }, name, count)
		}
	}
	dateInZone := original["dateInZone"].(func(string, any, string) string)
	durationRound := original["durationRound"].(func(any) string)
	bcrypt := original["bcrypt"].(func(string) string)
	htpasswd := original["htpasswd"].(func(string, string) string)
	encryptAES := original["encryptAES"].(func(string, string) (string, error))

	certs := &certificates{world: w}
	return template.FuncMap{
		"lookup": func(apiVersion, kind, namespace, name string) (map[string]any, error) {
			w.lookups++
			return map[string]any{}, nil
		},
		"getHostByName": func(string) (string, error) {
			if w.disableDNS {
				return "", nil
			}
			return "", errors.New("there is no network while a chart is rendered: with helm.disableDNS: true it gives an empty text, as in Helm")
		},

		"now": w.theTime,
		"ago": func(date any) string {
			return w.theTime().Sub(w.timeOf(date)).Round(time.Second).String()
		},
		"date": func(layout string, date any) string {
			return dateInZone(layout, w.timeOf(date), "UTC")
		},
		"htmlDate": func(date any) string {
			return dateInZone("2006-01-02", w.timeOf(date), "UTC")
		},
		"dateInZone": func(layout string, date any, zone string) string {
			return dateInZone(layout, w.timeOf(date), zone)
		},
		"date_in_zone": func(layout string, date any, zone string) string {
			return dateInZone(layout, w.timeOf(date), zone)
		},
		"htmlDateInZone": func(date any, zone string) string {
			return dateInZone("2006-01-02", w.timeOf(date), zone)
		},
		"durationRound": func(duration any) string {
			if t, ok := duration.(time.Time); ok {
				return durationRound(int64(w.theTime().Sub(t)))
			}
			return durationRound(duration)
		},

		"randAlphaNum": counted("randAlphaNum"),
		"randAlpha":    counted("randAlpha"),
		"randAscii":    counted("randAscii"),
		"randNumeric":  counted("randNumeric"),
		"randBytes":    w.randBytes,
		"randInt":      w.randInt,
		"uuidv4":       w.uuid,
		"shuffle":      w.shuffle,
		"bcrypt": func(password string) (string, error) {
			return w.with(func() string { return bcrypt(password) }, "bcrypt", password)
		},
		"htpasswd": func(user, password string) (string, error) {
			return w.with(func() string { return htpasswd(user, password) }, "htpasswd", user, password)
		},
		"encryptAES": func(password, text string) (out string, err error) {
			_, streamErr := w.with(func() string {
				out, err = encryptAES(password, text)
				return ""
			}, "encryptAES", password, text)
			return out, errors.Join(err, streamErr)
		},

		"genPrivateKey":            certs.genPrivateKey,
		"genCA":                    certs.genCA,
		"genCAWithKey":             certs.genCAWithKey,
		"genSelfSignedCert":        certs.genSelfSignedCert,
		"genSelfSignedCertWithKey": certs.genSelfSignedCertWithKey,
		"genSignedCert":            certs.genSignedCert,
		"genSignedCertWithKey":     certs.genSignedCertWithKey,
		"buildCustomCert":          certs.buildCustomCert,

		// Go's order of a map's keys is random, and so would the output be.
		"keys": func(dicts ...map[string]any) []string {
			keys := []string{}
			for _, dict := range dicts {
				keys = append(keys, sortedKeys(dict)...)
			}
			return keys
		},
		"values": func(dict map[string]any) []any {
			values := []any{}
			for _, key := range sortedKeys(dict) {
				values = append(values, dict[key])
			}
			return values
		},
	}
}

// timeOf reads a date as Sprig does: what is no date means now.
func (w *world) timeOf(date any) time.Time {
	switch d := date.(type) {
	case time.Time:
		return d
	case *time.Time:
		return *d
	case int64:
		return time.Unix(d, 0)
	case int:
		return time.Unix(int64(d), 0)
	case int32:
		return time.Unix(int64(d), 0)
	default:
		return w.theTime()
	}
}

func (w *world) randBytes(count int) (string, error) {
	original := sprig.TxtFuncMap()["randBytes"].(func(int) (string, error))
	var failed error
	out, err := w.with(func() string {
		var text string
		text, failed = original(count)
		return text
	}, "randBytes", count)
	return out, errors.Join(err, failed)
}

func (w *world) randInt(low, high int) (int, error) {
	if high <= low {
		return 0, errors.New("randInt: the upper bound must be above the lower one")
	}
	stream, err := w.stream("randInt", low, high)
	if err != nil {
		return 0, err
	}
	n, err := cryptorand.Int(stream, big.NewInt(int64(high-low)))
	if err != nil {
		return 0, err
	}
	return low + int(n.Int64()), nil
}

func (w *world) uuid() (string, error) {
	stream, err := w.stream("uuidv4")
	if err != nil {
		return "", err
	}
	var b [16]byte
	if _, err := io.ReadFull(stream, b[:]); err != nil {
		return "", err
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}

func (w *world) shuffle(text string) (string, error) {
	stream, err := w.stream("shuffle", text)
	if err != nil {
		return "", err
	}
	runes := []rune(text)
	for i := len(runes) - 1; i > 0; i-- {
		j, err := cryptorand.Int(stream, big.NewInt(int64(i+1)))
		if err != nil {
			return "", err
		}
		runes[i], runes[j.Int64()] = runes[j.Int64()], runes[i]
	}
	return string(runes), nil
}

func sortedKeys(dict map[string]any) []string {
	keys := make([]string, 0, len(dict))
	for key := range dict {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
