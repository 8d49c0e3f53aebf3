// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"time"

	"github.com/Masterminds/sprig/v3"
)

// certificates are Sprig's functions for keys and certificates, with the same
// arguments and kinds of keys, drawing from the world's streams. Go's own key
// generation cannot be made to repeat itself, so it is done here.
type certificates struct {
	world *world
}

// certificate has the fields that templates read.
type certificate struct {
	Cert string
	Key  string
}

const (
	certRSABits    = 2048
	privateRSABits = 4096
)

func (c *certificates) genPrivateKey(kind string) (string, error) {
	stream, err := c.world.stream("genPrivateKey", kind)
	if err != nil {
		return "", err
	}
	var key crypto.PrivateKey
	switch kind {
	case "", "rsa":
		key, err = rsaKey(stream, privateRSABits)
	case "ecdsa":
		key, err = ecdsaKey(stream)
	case "ed25519":
		seed := make([]byte, ed25519.SeedSize)
		if _, err = io.ReadFull(stream, seed); err == nil {
			key = ed25519.NewKeyFromSeed(seed)
		}
	case "dsa":
		c.world.warnings = append(c.world.warnings,
			"genPrivateKey \"dsa\" cannot be made repeatable: the key changes with each render; use ecdsa or ed25519")
		return sprig.TxtFuncMap()["genPrivateKey"].(func(string) string)(kind), nil
	default:
		return "Unknown type " + kind, nil
	}
	if err != nil {
		return "", err
	}
	return pemOf(key)
}

func (c *certificates) genCA(name string, days int) (certificate, error) {
	return c.issue("genCA", name, nil, nil, days, nil, "")
}

func (c *certificates) genCAWithKey(name string, days int, key string) (certificate, error) {
	return c.issue("genCAWithKey", name, nil, nil, days, nil, key)
}

func (c *certificates) genSelfSignedCert(name string, ips, dns []any, days int) (certificate, error) {
	return c.issue("genSelfSignedCert", name, ips, dns, days, nil, "")
}

func (c *certificates) genSelfSignedCertWithKey(name string, ips, dns []any, days int, key string) (certificate, error) {
	return c.issue("genSelfSignedCertWithKey", name, ips, dns, days, nil, key)
}

func (c *certificates) genSignedCert(name string, ips, dns []any, days int, ca certificate) (certificate, error) {
	return c.issue("genSignedCert", name, ips, dns, days, &ca, "")
}

func (c *certificates) genSignedCertWithKey(name string, ips, dns []any, days int, ca certificate, key string) (certificate, error) {
	return c.issue("genSignedCertWithKey", name, ips, dns, days, &ca, key)
}

func (c *certificates) buildCustomCert(cert64, key64 string) (certificate, error) {
	cert, err := base64.StdEncoding.DecodeString(cert64)
	if err != nil {
		return certificate{}, errors.New("the certificate is not base64")
	}
	key, err := base64.StdEncoding.DecodeString(key64)
	if err != nil {
		return certificate{}, errors.New("the private key is not base64")
	}
	if _, err := parseCertificate(string(cert)); err != nil {
		return certificate{}, err
	}
	if _, err := parseKey(string(key)); err != nil {
		return certificate{}, err
	}
	return certificate{Cert: string(cert), Key: string(key)}, nil
}

// issue makes a certificate signed by `ca`, or by itself. Its serial number and
// key come from the stream; it is valid from the commit's time.
func (c *certificates) issue(function, name string, ips, dns []any, days int, ca *certificate, keyPEM string) (certificate, error) {
	stream, err := c.world.stream(function, name, ips, dns, days)
	if err != nil {
		return certificate{}, err
	}
	serial := make([]byte, 16)
	if _, err := io.ReadFull(stream, serial); err != nil {
		return certificate{}, err
	}
	serial[0] &= 0x7f
	leaf := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             c.world.theTime(),
		NotAfter:              c.world.now.Add(24 * time.Hour * time.Duration(days)),
		KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if strings.HasPrefix(function, "genCA") {
		leaf.KeyUsage |= x509.KeyUsageCertSign
		leaf.IsCA = true
	}
	if leaf.IPAddresses, err = addresses(ips); err != nil {
		return certificate{}, err
	}
	for _, entry := range dns {
		text, ok := entry.(string)
		if !ok {
			return certificate{}, errors.New("an alternative DNS name is not a string")
		}
		leaf.DNSNames = append(leaf.DNSNames, text)
	}

	var key crypto.PrivateKey
	if keyPEM != "" {
		key, err = parseKey(keyPEM)
	} else {
		key, err = rsaKey(stream, certRSABits)
	}
	if err != nil {
		return certificate{}, err
	}
	parent, signer := leaf, key
	if ca != nil {
		if parent, err = parseCertificate(ca.Cert); err != nil {
			return certificate{}, err
		}
		if signer, err = parseKey(ca.Key); err != nil {
			return certificate{}, err
		}
	}
	owner, ok := key.(crypto.Signer)
	if !ok {
		return certificate{}, errors.New("the private key cannot be used for a certificate")
	}
	// With no source of randomness ECDSA signs as RFC 6979 says: repeatably.
	der, err := x509.CreateCertificate(nil, leaf, parent, owner.Public(), signer)
	if err != nil {
		return certificate{}, fmt.Errorf("the certificate cannot be made: %w", err)
	}
	encoded, err := pemOf(key)
	if err != nil {
		return certificate{}, err
	}
	return certificate{
		Cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key:  encoded,
	}, nil
}

func addresses(ips []any) ([]net.IP, error) {
	out := []net.IP{}
	for _, entry := range ips {
		text, _ := entry.(string)
		ip := net.ParseIP(text)
		if ip == nil {
			return nil, errors.New("an alternative IP address is not one")
		}
		out = append(out, ip)
	}
	return out, nil
}

// rsaKey makes a key from the stream: two primes of half the length each.
func rsaKey(stream io.Reader, bits int) (*rsa.PrivateKey, error) {
	const exponent = 65537
	e := big.NewInt(exponent)
	one := big.NewInt(1)
	for {
		p, err := prime(stream, bits/2, e)
		if err != nil {
			return nil, err
		}
		q, err := prime(stream, bits/2, e)
		if err != nil {
			return nil, err
		}
		if p.Cmp(q) == 0 {
			continue
		}
		totient := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		key := &rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: exponent},
			D:         new(big.Int).ModInverse(e, totient),
			Primes:    []*big.Int{p, q},
		}
		key.Precompute()
		return key, key.Validate()
	}
}

// prime draws a number and goes up to the next prime p for which e and p-1
// share no factor. Its two upper bits are set, so that a product has all bits.
func prime(stream io.Reader, bits int, e *big.Int) (*big.Int, error) {
	raw := make([]byte, bits/8)
	for {
		if _, err := io.ReadFull(stream, raw); err != nil {
			return nil, err
		}
		raw[0] |= 0xc0
		raw[len(raw)-1] |= 1
		p := new(big.Int).SetBytes(raw)
		two, rest := big.NewInt(2), new(big.Int)
		for p.BitLen() == bits {
			if p.ProbablyPrime(20) && rest.Mod(new(big.Int).Sub(p, big.NewInt(1)), e).Sign() != 0 {
				return p, nil
			}
			p.Add(p, two)
		}
	}
}

func ecdsaKey(stream io.Reader) (*ecdsa.PrivateKey, error) {
	raw := make([]byte, 32)
	for {
		if _, err := io.ReadFull(stream, raw); err != nil {
			return nil, err
		}
		// Fails for zero and for what is not below the curve's order.
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw); err == nil {
			return key, nil
		}
	}
}

func pemOf(key crypto.PrivateKey) (string, error) {
	block := &pem.Block{}
	var err error
	switch k := key.(type) {
	case *rsa.PrivateKey:
		block.Type, block.Bytes = "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k)
	case *ecdsa.PrivateKey:
		block.Type = "EC PRIVATE KEY"
		block.Bytes, err = x509.MarshalECPrivateKey(k)
	default:
		block.Type = "PRIVATE KEY"
		block.Bytes, err = x509.MarshalPKCS8PrivateKey(k)
	}
	if err != nil {
		return "", errors.New("the private key cannot be encoded")
	}
	return string(pem.EncodeToMemory(block)), nil
}

func parseKey(text string) (crypto.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the private key is not PEM")
	}
	var key crypto.PrivateKey
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, errors.New("the PEM block is no private key of a known kind")
	}
	if err != nil {
		return nil, errors.New("the private key cannot be read")
	}
	return key, nil
}

func parseCertificate(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("the certificate is not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errors.New("the certificate cannot be read")
	}
	return cert, nil
}
