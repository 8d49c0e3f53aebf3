// SPDX-License-Identifier: Apache-2.0

#include "common/env/posix/posix_subprocess.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "common/status/status_macros.h"

namespace flotilla {
namespace {

// What the child was doing when a call failed.
enum Step : int {
  kStarted,
  kParentGone,
  kDirectory,
  kAddressSpace,
  kCpuTime,
  kDescriptors,
  kExec,
};

// From the child to its parent, before exec closes the pipe.
struct Report {
  int step;
  int error;
  int isolated;
};

absl::string_view StepName(int step) {
  switch (step) {
    case kParentGone:
      return "asking to be killed with its parent";
    case kDirectory:
      return "entering its working directory";
    case kAddressSpace:
      return "limiting its address space";
    case kCpuTime:
      return "limiting its CPU time";
    case kDescriptors:
      return "setting up its descriptors";
    default:
      return "running the program";
  }
}

// Owns a descriptor.
//
// Thread-compatible.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    Close();
    fd_ = std::exchange(other.fd_, -1);
    return *this;
  }
  ~Descriptor() { Close(); }

  int get() const { return fd_; }
  void Close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

struct Pipe {
  Descriptor read;
  Descriptor write;
};

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) {
    return absl::ErrnoToStatus(errno, "making a pipe");
  }
  return Pipe{Descriptor(fds[0]), Descriptor(fds[1])};
}

absl::StatusOr<std::string> FindProgram(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* const path = std::getenv("PATH");
  for (absl::string_view folder :
       absl::StrSplit(path == nullptr ? "/usr/bin:/bin" : path, ':')) {
    std::string candidate = absl::StrCat(folder, "/", name);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return absl::NotFoundError(
      absl::StrCat("no program ", name, " in PATH: install it"));
}

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) {
    pointers.push_back(const_cast<char*>(text.c_str()));
  }
  pointers.push_back(nullptr);
  return pointers;
}

absl::Duration MonotonicNow() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::DurationFromTimespec(now);
}

// Waits until `fd` is ready for `events` (or broken). False at the deadline.
bool WaitReady(int fd, short events, absl::Duration deadline) {
  for (;;) {
    const absl::Duration left =
        absl::Ceil(deadline - MonotonicNow(), absl::Milliseconds(1));
    const int timeout_ms = static_cast<int>(std::clamp<int64_t>(
        absl::ToInt64Milliseconds(left), 0, 1000 * 3600));
    pollfd wait = {fd, events, 0};
    const int n = ::poll(&wait, 1, timeout_ms);
    if (n > 0) return true;
    if (n == 0 && MonotonicNow() >= deadline) return false;
  }
}

// Blocks SIGPIPE on this thread, and takes one that a write has raised.
//
// Thread-compatible.
class BlockedSigpipe {
 public:
  BlockedSigpipe() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~BlockedSigpipe() {
    if (sigismember(&before_, SIGPIPE) == 0) {
      const timespec none = {0, 0};
      while (::sigtimedwait(&pipe_, nullptr, &none) > 0) {
      }
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  BlockedSigpipe(const BlockedSigpipe&) = delete;
  BlockedSigpipe& operator=(const BlockedSigpipe&) = delete;

 private:
  sigset_t pipe_;
  sigset_t before_;
};

// All that the child needs, made before the fork.
struct ChildPlan {
  const char* program;
  char* const* argv;
  char* const* environment;
  const char* directory;
  int stdin_fd;
  int stdout_fd;
  int stderr_fd;  // -1: the parent's own.
  int report_fd;
  pid_t parent;
  rlim_t address_space;
  rlim_t cpu_seconds;
  bool isolate_network;
};

bool Limit(int resource, rlim_t value) {
  if (value == RLIM_INFINITY) return true;
  const rlimit limit = {value, value};
  return ::setrlimit(static_cast<__rlimit_resource>(resource), &limit) == 0;
}

// Runs in the child: only calls that are safe after a fork. Never returns.
[[noreturn]] void BecomeProgram(const ChildPlan& plan) {
  Report report = {kStarted, 0, 0};
  const auto fail = [&](Step step) {
    report.step = step;
    report.error = errno;
    [[maybe_unused]] const ssize_t n =
        ::write(plan.report_fd, &report, sizeof(report));
    ::_exit(127);
  };

  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) fail(kParentGone);
  // The parent may have gone before the call above.
  if (::getppid() != plan.parent) {
    errno = ESRCH;
    fail(kParentGone);
  }
  if (plan.directory != nullptr && ::chdir(plan.directory) != 0) {
    fail(kDirectory);
  }
  // A new network namespace has no interface but a loopback that is down. Where
  // we may not have one, a user namespace around it is allowed to.
  if (plan.isolate_network) {
    report.isolated = ::unshare(CLONE_NEWNET) == 0 ||
                      ::unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
  }

  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);

  if (::dup2(plan.stdin_fd, 0) < 0 || ::dup2(plan.stdout_fd, 1) < 0 ||
      (plan.stderr_fd >= 0 && ::dup2(plan.stderr_fd, 2) < 0)) {
    fail(kDescriptors);
  }
  if (::syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) != 0) {
    // A kernel before 5.11.
    for (int fd = 3; fd < 4096; ++fd) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  if (!Limit(RLIMIT_CORE, 0)) fail(kDescriptors);
  if (!Limit(RLIMIT_CPU, plan.cpu_seconds)) fail(kCpuTime);
  if (!Limit(RLIMIT_AS, plan.address_space)) fail(kAddressSpace);

  // Says whether it is isolated; the end of the pipe says that it runs.
  [[maybe_unused]] const ssize_t n =
      ::write(plan.report_fd, &report, sizeof(report));
  ::execve(plan.program, plan.argv, plan.environment);
  fail(kExec);
  ::_exit(127);
}

// A running child.
//
// Thread-compatible.
class PosixSubprocess final : public Subprocess {
 public:
  PosixSubprocess(pid_t pid, Descriptor to_child, Descriptor from_child)
      : pid_(pid),
        to_child_(std::move(to_child)),
        from_child_(std::move(from_child)) {}

  ~PosixSubprocess() override {
    Kill();
    CloseStdin();
    Wait(absl::InfiniteDuration()).IgnoreError();
  }

  void set_isolated(bool isolated) { isolated_ = isolated; }

  absl::Status Write(absl::string_view bytes,
                     absl::Duration timeout) override {
    if (to_child_.get() < 0) {
      return absl::FailedPreconditionError("its standard input is closed");
    }
    const BlockedSigpipe blocked;
    const absl::Duration deadline = MonotonicNow() + timeout;
    while (!bytes.empty()) {
      const ssize_t n = ::write(to_child_.get(), bytes.data(), bytes.size());
      if (n > 0) {
        bytes.remove_prefix(static_cast<size_t>(n));
      } else if (errno == EAGAIN) {
        if (!WaitReady(to_child_.get(), POLLOUT, deadline)) {
          return absl::DeadlineExceededError(absl::StrCat(
              "the child did not take its input within ",
              absl::FormatDuration(timeout)));
        }
      } else if (errno == EPIPE) {
        return absl::UnavailableError("the child has closed its input");
      } else if (errno != EINTR) {
        return absl::ErrnoToStatus(errno, "writing to the child");
      }
    }
    return absl::OkStatus();
  }

  void CloseStdin() override { to_child_.Close(); }

  absl::StatusOr<std::string> Read(size_t max,
                                   absl::Duration timeout) override {
    std::string bytes;
    RETURN_IF_ERROR(ReadSome(max, MonotonicNow() + timeout, timeout, bytes));
    return bytes;
  }

  absl::StatusOr<std::string> ReadExactly(size_t count,
                                          absl::Duration timeout) override {
    const absl::Duration deadline = MonotonicNow() + timeout;
    std::string bytes;
    while (bytes.size() < count) {
      const size_t before = bytes.size();
      RETURN_IF_ERROR(
          ReadSome(count - before, deadline, timeout, bytes));
      if (bytes.size() == before) {
        return absl::UnavailableError(
            absl::StrCat("the child's output ended after ", before, " of ",
                         count, " bytes"));
      }
    }
    return bytes;
  }

  void Kill() override {
    absl::MutexLock lock(&mu_);
    // Once it is reaped the number may belong to another process.
    if (!exit_.has_value()) ::kill(pid_, SIGKILL);
  }

  absl::StatusOr<Exit> Wait(absl::Duration timeout) override {
    const absl::Duration deadline = MonotonicNow() + timeout;
    // A descriptor of the process becomes readable at its end.
    const Descriptor ended(
        static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    for (;;) {
      {
        absl::MutexLock lock(&mu_);
        if (exit_.has_value()) return *exit_;
        int status = 0;
        if (::waitpid(pid_, &status, WNOHANG) == pid_) {
          Exit result;
          if (WIFSIGNALED(status)) {
            result.signal = WTERMSIG(status);
          } else {
            result.code = WEXITSTATUS(status);
          }
          exit_ = result;
          return result;
        }
      }
      if (ended.get() < 0) {
        // A kernel before 5.3, or no descriptor left.
        ::poll(nullptr, 0, 10);
        if (MonotonicNow() < deadline) continue;
      } else if (WaitReady(ended.get(), POLLIN, deadline)) {
        continue;
      }
      return absl::DeadlineExceededError(
          absl::StrCat("the child did not end within ",
                       absl::FormatDuration(timeout)));
    }
  }

  int64_t pid() const override { return pid_; }
  bool network_isolated() const override { return isolated_; }

  uint64_t ResidentBytes() const override {
    {
      absl::MutexLock lock(&mu_);
      if (exit_.has_value()) return 0;
    }
    std::FILE* const file =
        std::fopen(absl::StrCat("/proc/", pid_, "/statm").c_str(), "re");
    if (file == nullptr) return 0;
    unsigned long long size = 0, resident = 0;
    const int fields = std::fscanf(file, "%llu %llu", &size, &resident);
    std::fclose(file);
    if (fields != 2) return 0;
    return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  }

 private:
  // Appends up to `max` bytes; none at the end of the output.
  absl::Status ReadSome(size_t max, absl::Duration deadline,
                        absl::Duration timeout, std::string& bytes) {
    // No more at once, whatever size a caller was told to read.
    const size_t room = std::min(max, size_t{1} << 18);
    const size_t before = bytes.size();
    for (;;) {
      if (!WaitReady(from_child_.get(), POLLIN, deadline)) {
        return absl::DeadlineExceededError(
            absl::StrCat("the child said nothing within ",
                         absl::FormatDuration(timeout)));
      }
      bytes.resize(before + room);
      const ssize_t n =
          ::read(from_child_.get(), bytes.data() + before, room);
      const int error = errno;
      bytes.resize(before + static_cast<size_t>(std::max<ssize_t>(n, 0)));
      if (n >= 0) return absl::OkStatus();
      if (error != EINTR && error != EAGAIN) {
        return absl::ErrnoToStatus(error, "reading from the child");
      }
    }
  }

  // Constant after construction.
  const pid_t pid_;
  bool isolated_ = false;

  Descriptor to_child_;
  Descriptor from_child_;

  mutable absl::Mutex mu_;
  absl::optional<Exit> exit_ ABSL_GUARDED_BY(mu_);
};

absl::Status StartError(const std::string& program, const Report& report) {
  if (report.step == kExec && report.error == ENOEXEC) {
    return absl::InvalidArgumentError(
        absl::StrCat(program, " is not a program for this machine"));
  }
  return absl::ErrnoToStatus(
      report.error,
      absl::StrCat("starting ", program, ", ", StepName(report.step)));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Subprocess>> PosixSubprocesses::Start(
    const SubprocessOptions& options) {
  if (options.argv.empty()) {
    return absl::InvalidArgumentError("no program to run");
  }
  ASSIGN_OR_RETURN(const std::string program, FindProgram(options.argv[0]));
  ASSIGN_OR_RETURN(Pipe input, MakePipe());
  ASSIGN_OR_RETURN(Pipe output, MakePipe());
  ASSIGN_OR_RETURN(Pipe report_pipe, MakePipe());
  Descriptor null;
  if (options.error_output == SubprocessOptions::Stderr::kDiscard) {
    null = Descriptor(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  }
  // Ours, so that a child that does not read cannot hold us.
  ::fcntl(input.write.get(), F_SETFL, O_NONBLOCK);

  const std::vector<char*> argv = Pointers(options.argv);
  const std::vector<char*> environment = Pointers(options.environment);
  ChildPlan plan;
  plan.program = program.c_str();
  plan.argv = argv.data();
  plan.environment = environment.data();
  plan.directory = options.working_directory.empty()
                       ? nullptr
                       : options.working_directory.c_str();
  plan.stdin_fd = input.read.get();
  plan.stdout_fd = output.write.get();
  plan.stderr_fd = null.get();
  if (options.error_output == SubprocessOptions::Stderr::kToStdout) {
    plan.stderr_fd = output.write.get();
  }
  plan.report_fd = report_pipe.write.get();
  plan.parent = ::getpid();
  plan.address_space =
      options.max_address_space_bytes.value_or(RLIM_INFINITY);
  plan.cpu_seconds = RLIM_INFINITY;
  if (options.max_cpu_time.has_value()) {
    plan.cpu_seconds = static_cast<rlim_t>(std::max<int64_t>(
        1, absl::ToInt64Seconds(
               absl::Ceil(*options.max_cpu_time, absl::Seconds(1)))));
  }
  plan.isolate_network = options.isolate_network;

  const pid_t pid = ::fork();
  if (pid < 0) return absl::ErrnoToStatus(errno, "forking");
  if (pid == 0) BecomeProgram(plan);

  input.read.Close();
  output.write.Close();
  report_pipe.write.Close();
  auto child = std::make_unique<PosixSubprocess>(pid, std::move(input.write),
                                                 std::move(output.read));
  // One report before exec, and a second one if that fails.
  Report report = {kParentGone, ECHILD, 0};
  Report next;
  ssize_t n;
  while ((n = ::read(report_pipe.read.get(), &next, sizeof(next))) != 0) {
    if (n == static_cast<ssize_t>(sizeof(next))) {
      report = next;
    } else if (errno != EINTR) {
      break;
    }
  }
  if (report.step != kStarted) return StartError(program, report);
  child->set_isolated(report.isolated != 0);
  return child;
}

}  // namespace flotilla
