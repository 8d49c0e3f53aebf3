// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"flotilla.dev/manager/render/worker/renderv1"
)

const roleVariable = "FLOTILLA_RENDER_WORKER_TEST_ROLE"

// TestMain lets this program be the worker, or be a prisoner that tries to get
// out of the sandbox.
func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "worker":
		main()
	case "prisoner":
		tryToGetOut()
	default:
		os.Exit(m.Run())
	}
}

func asRole(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(self, args...)
	command.Env = []string{roleVariable + "=" + role}
	return command
}

// tryToGetOut prints what works that should not.
func tryToGetOut() {
	parent := os.Getppid()
	if err := enterSandbox(); err != nil {
		fmt.Println("no sandbox:", err)
		os.Exit(exitNoSandbox)
	}
	out := func(what string, err error) {
		if err == nil {
			fmt.Println("works:", what)
		}
	}
	for _, name := range []string{"/etc/passwd", "/proc/self/environ", "/proc/self/maps", "/dev/zero", "/"} {
		_, err := os.ReadFile(name)
		out("reading "+name, err)
		_, err = os.Stat(name)
		out("stat "+name, err)
		_, err = os.ReadDir(name)
		out("listing "+name, err)
	}
	_, err := os.Readlink("/proc/self/exe")
	out("readlink", err)
	_, err = os.MkdirTemp("", "")
	out("making a folder", err)
	_, err = os.CreateTemp("", "")
	out("making a file", err)
	out("removing", os.Remove("/nonexistent-but-allowed"))
	out("linking", os.Symlink("/etc", "/tmp/flotilla-link"))
	_, err = net.DialTimeout("tcp", "127.0.0.1:1", time.Second)
	if err != nil && strings.Contains(err.Error(), "refused") {
		err = nil
	}
	out("dialling", err)
	_, err = net.LookupHost("localhost")
	out("looking a host up", err)
	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_UNIX, unix.AF_NETLINK, unix.AF_VSOCK} {
		_, err = unix.Socket(family, unix.SOCK_DGRAM, 0)
		out(fmt.Sprintf("a socket of family %d", family), err)
	}
	_, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	out("a socket pair", err)
	out("running a program", exec.Command("/bin/true").Run())
	out("execve", syscall.Exec("/bin/true", []string{"true"}, nil))
	out("a signal to its parent", unix.Kill(parent, 0))
	_, err = unix.MemfdCreate("x", 0)
	out("a file in memory", err)
	_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
	if errno != unix.EPERM {
		out("io_uring", nil)
	}
	_, _, errno = unix.Syscall(unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(parent), 0)
	if errno != unix.EPERM {
		out("ptrace", nil)
	}
	out("leaving its namespace", unix.Unshare(unix.CLONE_NEWUSER))
	out("a limit raised", unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}))
	out("owning", unix.Setuid(0))

	// What a worker does must work.
	for name, request := range ordinaryRequests() {
		if e := render(request).Error; e != nil {
			fmt.Printf("fails: %s: %s\n", name, e.Message)
		}
	}
	fmt.Println("done")
}

// ordinaryRequests has one of each kind.
func ordinaryRequests() map[string]*renderv1.RenderRequest {
	chart := request(map[string]string{
		"values.schema.json": `{"type":"object"}`,
		"templates/a.yaml":   configMap(`{{ dateInZone "15:04" now "Europe/Paris" }}{{ randAlphaNum 5 }}{{ (genCA "x" 1).Cert | len }}`),
	})
	chart.Kustomize = kustomizing("", map[string]string{"kustomization.yaml": "namePrefix: x-\n"}).Kustomize
	return map[string]*renderv1.RenderRequest{
		"chart and Kustomize": chart,
		"values":              templating(`{"a":"${ .ClusterName }"}`, nil),
		"patch": {Patches: []*renderv1.Patch{{
			OriginalJson: []byte(`{"apiVersion":"v1","kind":"Pod"}`), PatchJson: []byte(`{"spec":{}}`)}}},
	}
}

func TestNothingGetsOutOfTheSandbox(t *testing.T) {
	said, err := asRole(t, "prisoner").CombinedOutput()
	if err != nil || string(said) != "done\n" {
		t.Errorf("%v, said:\n%s", err, said)
	}
}

func TestChecksWhetherItCanWork(t *testing.T) {
	said, err := asRole(t, "worker", "--check").CombinedOutput()
	if err != nil || !strings.Contains(string(said), "can work here") {
		t.Errorf("%v, said:\n%s", err, said)
	}
}

// ask gives a new worker process one request after another. An absent answer is
// one that the process died of.
func ask(t *testing.T, args []string, requests ...*renderv1.RenderRequest) []*renderv1.RenderResponse {
	t.Helper()
	command := asRole(t, "worker", args...)
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	command.Stderr = &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		err := command.Wait()
		t.Logf("ended: %v %s", err, firstLine(said.String()))
	}()
	var responses []*renderv1.RenderResponse
	for i, r := range requests {
		r.Id = uint64(i + 1)
		body, _ := proto.Marshal(r)
		if _, err := in.Write(frame(body)); err != nil {
			break
		}
		answer, err := readFrame(out)
		if err != nil {
			break
		}
		response := &renderv1.RenderResponse{}
		if err := proto.Unmarshal(answer, response); err != nil {
			t.Fatal(err)
		}
		if response.Id != r.Id {
			t.Errorf("answer %d has the id %d", r.Id, response.Id)
		}
		responses = append(responses, response)
	}
	return responses
}

func TestEndsARequestThatTakesTooMuchCPUTime(t *testing.T) {
	loop := "{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}"
	for words, r := range map[string]*renderv1.RenderRequest{
		"rendering the chart":    request(map[string]string{"templates/a.yaml": loop}),
		"filling in helm.values": templating(`{"a":"`+strings.NewReplacer("{{", "${", "}}", "}").Replace(loop)+`"}`, nil),
	} {
		got := ask(t, []string{"--max-cpu=300ms"}, request(nil), r, request(nil))
		if len(got) != 2 || got[0].Error != nil || got[1].Error == nil ||
			!strings.Contains(got[1].Error.Message, words+" took more than 300ms") {
			t.Errorf("got %v", got)
		}
	}
}

func TestAPromptRequestIsNotCountedWithTheOnesBefore(t *testing.T) {
	busy := request(map[string]string{"templates/a.yaml": "{{ range until 60000 }}{{ end }}"})
	requests := make([]*renderv1.RenderRequest, 40)
	for i := range requests {
		requests[i] = proto.Clone(busy).(*renderv1.RenderRequest)
	}
	for i, response := range ask(t, []string{"--max-cpu=400ms"}, requests...) {
		if response.Error != nil {
			t.Fatalf("%d: %v", i, response.Error)
		}
	}
}
