// SPDX-License-Identifier: Apache-2.0
//
// Subprocess is a running child with pipes on its standard input and output;
// Subprocesses starts them. The child inherits no descriptor but these, no
// signal mask, and only the environment that it is given. It is killed when its
// Subprocess is destroyed, and when the thread that started it ends: start it
// from a thread that lives as long as the child should.
//
// Reads and writes block up to their deadline: use them from a WorkerPool.

#ifndef FLOTILLA_COMMON_ENV_SUBPROCESS_H_
#define FLOTILLA_COMMON_ENV_SUBPROCESS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"

namespace flotilla {

struct SubprocessOptions {
  enum class Stderr { kInherit, kDiscard, kToStdout };

  // The program (a path, or a name looked up in this process's PATH) and its
  // arguments.
  std::vector<std::string> argv;
  // "NAME=value"; all that the child gets.
  std::vector<std::string> environment;
  // Empty: this process's own.
  std::string working_directory;
  Stderr error_output = Stderr::kInherit;

  // Limits of the kernel. Programs that reserve much more address space than
  // they use (Go's do) want ResidentBytes() watched instead of the first.
  absl::optional<uint64_t> max_address_space_bytes;
  absl::optional<absl::Duration> max_cpu_time;

  // Gives the child a network without any interface, where the kernel lets us:
  // ask network_isolated().
  bool isolate_network = false;
};

// One of these is thread-affine in use, except that Kill() may come from any
// thread while another is in a read or write.
//
// Thread-compatible.
class Subprocess {
 public:
  struct Exit {
    // Of the program; -1 when a signal ended it.
    int code = -1;
    // 0 when it exited by itself.
    int signal = 0;

    bool ok() const { return code == 0; }
    // "exit code 2", "killed by signal 9".
    std::string ToString() const {
      if (signal == 0) return "exit code " + std::to_string(code);
      return "killed by signal " + std::to_string(signal);
    }
  };

  // Kills the child if it runs, and waits for its end.
  virtual ~Subprocess() = default;

  // Writes all of `bytes`. DEADLINE_EXCEEDED when the child does not take them
  // in time; UNAVAILABLE when it has closed its end.
  virtual absl::Status Write(absl::string_view bytes,
                             absl::Duration timeout) = 0;
  virtual void CloseStdin() = 0;

  // Between 1 and `max` bytes; empty at the end of the output.
  // DEADLINE_EXCEEDED when nothing comes in time.
  virtual absl::StatusOr<std::string> Read(size_t max,
                                           absl::Duration timeout) = 0;

  // Exactly `count` bytes; UNAVAILABLE when the output ends before.
  virtual absl::StatusOr<std::string> ReadExactly(size_t count,
                                                  absl::Duration timeout) = 0;

  // SIGKILL, at once.
  virtual void Kill() = 0;

  // Waits for the end; DEADLINE_EXCEEDED when it does not come in time.
  virtual absl::StatusOr<Exit> Wait(absl::Duration timeout) = 0;

  virtual int64_t pid() const = 0;
  virtual bool network_isolated() const = 0;
  // Memory it holds now; 0 once it has ended.
  virtual uint64_t ResidentBytes() const = 0;
};

// Starts children.
//
// Thread-safe.
class Subprocesses {
 public:
  virtual ~Subprocesses() = default;

  // NOT_FOUND or PERMISSION_DENIED, with the path, when the program cannot be
  // run.
  virtual absl::StatusOr<std::unique_ptr<Subprocess>> Start(
      const SubprocessOptions& options) = 0;
};

}  // namespace flotilla

#endif  // FLOTILLA_COMMON_ENV_SUBPROCESS_H_
