// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"flotilla.dev/manager/render/worker/renderv1"
)

// Longest message that is handed on.
const maxMessage = 2000

// problem is an error that knows its place.
type problem struct {
	file    string
	line    int
	message string
	// File is the bundle's, not the chart's.
	fromBundle bool
	// Of a value, such as "helm.values.a"; "" where there is none.
	path string
}

func (p *problem) Error() string { return p.message }

func problemAt(file string, line int, format string, args ...any) *problem {
	return &problem{file: file, line: line, message: fmt.Sprintf(format, args...)}
}

func (p *problem) proto() *renderv1.RenderError {
	message := strings.ToValidUTF8(p.message, "?")
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "…"
	}
	return &renderv1.RenderError{
		Message:    message,
		File:       strings.ToValidUTF8(p.file, "?"),
		Line:       uint32(max(p.line, 0)),
		FromBundle: p.fromBundle,
		Path:       strings.ToValidUTF8(p.path, "?"),
	}
}

var (
	// As Helm words a template that does not parse, and `fail` or `required`.
	placedError = regexp.MustCompile(`(?s)^(?:parse|execution) error at \(([^)]*)\): (.*)$`)
	// A line of Helm's trace, or any "file:line:column" in an error's text.
	traceLine = regexp.MustCompile(`^([^\s:][^:]*):(\d+)(?::\d+)?$`)
	anyPlace  = regexp.MustCompile(`template: ([^\s:][^:]*):(\d+)(?::\d+)?: `)
	// The text given to `tpl` may hold values.
	tplText = regexp.MustCompile(`(cannot parse template|error during tpl function execution for) "(?:[^"\\]|\\.)*"?`)
	// Functions whose errors quote their arguments; those of `include` and
	// `template` name templates only.
	calling   = regexp.MustCompile(`error calling (\w+): `)
	undefined = regexp.MustCompile(`^function "\w+" not defined$`)
	quoted    = regexp.MustCompile(`"(?:[^"\\]|\\.)*"?`)
	backtick  = regexp.MustCompile("`[^`]*`?")
	// As Go words a template that ranges over something else than a list.
	rangedOver = regexp.MustCompile(`(?s)(range can't iterate over ).*`)
)

// templateProblem turns an error of Helm's engine into one with file and line
// relative to the chart's root, and with no value in its text.
func templateProblem(err error, chart string) *problem {
	text := err.Error()
	if m := placedError.FindStringSubmatch(text); m != nil {
		p := place(m[1], chart)
		p.message = hideValues(strings.TrimSpace(m[2]))
		return p
	}

	// Helm's trace: a place, then what was executed there and what happened,
	// from the outermost template to the innermost.
	type step struct {
		at   *problem
		said []string
	}
	var steps []step
	for _, line := range strings.Split(text, "\n") {
		if m := traceLine.FindStringSubmatch(line); m != nil {
			steps = append(steps, step{at: place(line, chart)})
		} else if trimmed := strings.TrimSpace(line); trimmed != "" && len(steps) > 0 {
			last := &steps[len(steps)-1]
			last.said = append(last.said, trimmed)
		}
	}
	if len(steps) > 0 {
		innermost := steps[len(steps)-1]
		p := innermost.at
		p.message = hideValues(strings.Join(innermost.said, " "))
		if p.message == "" {
			p.message = hideValues(strings.ReplaceAll(text, "\n", " "))
		}
		if outer := steps[0].at; outer.file != p.file {
			p.message += fmt.Sprintf(" (included from %s:%d)", outer.file, outer.line)
		}
		return p
	}

	// A chain of "template: place: what happened: template: place: ...".
	p := &problem{}
	if all := anyPlace.FindAllStringSubmatchIndex(text, -1); len(all) > 0 {
		m := all[len(all)-1]
		p = place(text[m[2]:m[5]], chart)
		text = text[m[1]:]
	}
	p.message = hideValues(text)
	return p
}

// place reads "chart/templates/x.yaml:12:3".
func place(location, chart string) *problem {
	p := &problem{file: location}
	if m := traceLine.FindStringSubmatch(location); m != nil {
		p.file = m[1]
		p.line, _ = strconv.Atoi(m[2])
	}
	p.file = relative(p.file, chart)
	return p
}

// relative cuts the chart's name off a template's name.
func relative(template, chart string) string {
	return strings.TrimPrefix(template, chart+"/")
}

// hideValues hides what the text may quote of values.
func hideValues(text string) string {
	text = tplText.ReplaceAllString(text, "$1 a text")
	text = rangedOver.ReplaceAllString(text, "${1}this value")
	for _, m := range calling.FindAllStringSubmatchIndex(text, -1) {
		switch text[m[2]:m[3]] {
		case "include", "tpl", "template":
			continue
		}
		return text[:m[1]] + hideQuoted(text[m[1]:])
	}
	return text
}

func hideQuoted(text string) string {
	// What a template calls is a name of ours or a slip of the pen.
	if undefined.MatchString(text) {
		return text
	}
	text = quoted.ReplaceAllString(text, "(a value)")
	return backtick.ReplaceAllString(text, "(a value)")
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
