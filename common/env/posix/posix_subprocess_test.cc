// SPDX-License-Identifier: Apache-2.0

#include "common/env/posix/posix_subprocess.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/env/subprocess.h"
#include "common/status/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace flotilla {
namespace {

using ::testing::HasSubstr;

// Long enough for a busy machine; nothing waits for it to pass.
constexpr absl::Duration kLong = absl::Seconds(30);

SubprocessOptions Shell(absl::string_view script) {
  SubprocessOptions options;
  options.argv = {"/bin/sh", "-c", std::string(script)};
  options.environment = {"PATH=/usr/bin:/bin"};
  return options;
}

std::unique_ptr<Subprocess> MustStart(const SubprocessOptions& options) {
  auto child = PosixSubprocesses().Start(options);
  EXPECT_THAT(child, IsOk());
  return *std::move(child);
}

std::string ReadToEnd(Subprocess& child) {
  std::string all;
  for (;;) {
    auto bytes = child.Read(4096, kLong);
    EXPECT_THAT(bytes, IsOk());
    if (!bytes.ok() || bytes->empty()) return all;
    all += *bytes;
  }
}

std::string OutputOf(const SubprocessOptions& options) {
  auto child = MustStart(options);
  child->CloseStdin();
  return ReadToEnd(*child);
}

TEST(PosixSubprocess, CarriesBytesBothWaysAndTellsTheExitCode) {
  SubprocessOptions options;
  options.argv = {"cat"};
  auto child = MustStart(options);

  ASSERT_THAT(child->Write("hello", kLong), IsOk());
  EXPECT_THAT(child->ReadExactly(5, kLong), IsOkAndHolds("hello"));
  child->CloseStdin();
  EXPECT_THAT(child->Read(10, kLong), IsOkAndHolds(""));

  const auto exit = child->Wait(kLong);
  ASSERT_THAT(exit, IsOk());
  EXPECT_TRUE(exit->ok());
  EXPECT_EQ(child->ResidentBytes(), 0u);
}

TEST(PosixSubprocess, TellsExitCodesAndSignalsApart) {
  auto three = MustStart(Shell("exit 3"))->Wait(kLong);
  ASSERT_THAT(three, IsOk());
  EXPECT_EQ(three->ToString(), "exit code 3");

  auto child = MustStart(Shell("exec sleep 1000"));
  EXPECT_GT(child->ResidentBytes(), 0u);
  child->Kill();
  auto killed = child->Wait(kLong);
  ASSERT_THAT(killed, IsOk());
  EXPECT_EQ(killed->ToString(), "killed by signal 9");
  EXPECT_FALSE(killed->ok());
}

TEST(PosixSubprocess, GivesUpAtTheDeadlineAndKillsWhenDestroyed) {
  auto child = MustStart(Shell("exec sleep 1000"));
  const pid_t pid = static_cast<pid_t>(child->pid());
  const std::string more_than_a_pipe_holds(1 << 20, 'x');

  EXPECT_THAT(child->Read(1, absl::Milliseconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(child->Write(more_than_a_pipe_holds, absl::Milliseconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(child->Wait(absl::Milliseconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));

  child.reset();
  EXPECT_EQ(::kill(pid, 0), -1);
}

TEST(PosixSubprocess, TurnsAClosedPipeIntoAStatusNotASignal) {
  auto child = MustStart(Shell("exit 0"));
  ASSERT_THAT(child->Wait(kLong), IsOk());

  EXPECT_THAT(child->Write("too late", kLong),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(child->ReadExactly(4, kLong),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("0 of 4")));
}

TEST(PosixSubprocess, SaysWhyAProgramCannotBeRun) {
  SubprocessOptions options;
  options.argv = {"/no/such/program"};
  EXPECT_THAT(PosixSubprocesses().Start(options),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("/no/such/program")));

  options.argv = {"no-such-program-in-path"};
  EXPECT_THAT(PosixSubprocesses().Start(options),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("install")));

  options.argv = {"/etc/passwd"};
  EXPECT_THAT(PosixSubprocesses().Start(options),
              StatusIs(absl::StatusCode::kPermissionDenied));

  options = Shell("true");
  options.working_directory = "/no/such/folder";
  EXPECT_THAT(PosixSubprocesses().Start(options),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("working directory")));

  EXPECT_THAT(PosixSubprocesses().Start({}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(PosixSubprocess, PassesOnlyTheEnvironmentAndDirectoryItIsGiven) {
  ::setenv("FLOTILLA_SECRET", "hunter2", 1);
  SubprocessOptions options = Shell("echo \"$A:$FLOTILLA_SECRET:$(pwd)\"");
  options.environment.push_back("A=1");
  options.working_directory = "/usr";

  EXPECT_EQ(OutputOf(options), "1::/usr\n");
}

TEST(PosixSubprocess, PassesNoDescriptorAndNoSignalMask) {
  const int leaked = ::open("/etc/passwd", O_RDONLY);
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &set, &before);

  const std::string output =
      OutputOf(Shell("grep SigBlk /proc/self/status; ls -l /proc/$$/fd"));

  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::close(leaked);
  EXPECT_THAT(output, HasSubstr(" 0 -> "));
  EXPECT_FALSE(absl::StrContains(output, "/etc/passwd")) << output;
  EXPECT_THAT(output, HasSubstr("SigBlk:\t0000000000000000"));
}

TEST(PosixSubprocess, RoutesStandardError) {
  SubprocessOptions options = Shell("echo out; echo err >&2");
  options.error_output = SubprocessOptions::Stderr::kDiscard;
  EXPECT_EQ(OutputOf(options), "out\n");

  options.error_output = SubprocessOptions::Stderr::kToStdout;
  EXPECT_EQ(OutputOf(options), "out\nerr\n");
}

TEST(PosixSubprocess, LimitsAddressSpaceAndCpuTime) {
  SubprocessOptions options = Shell("ulimit -v; ulimit -t; ulimit -c");
  options.max_address_space_bytes = uint64_t{256} << 20;
  options.max_cpu_time = absl::Milliseconds(1500);

  EXPECT_EQ(OutputOf(options), "262144\n2\n0\n");
}

TEST(PosixSubprocess, TakesTheNetworkAwayWhereTheKernelLetsIt) {
  SubprocessOptions options = Shell("cat /proc/net/dev");
  EXPECT_FALSE(MustStart(options)->network_isolated());

  options.isolate_network = true;
  auto child = MustStart(options);
  child->CloseStdin();
  const std::string interfaces = ReadToEnd(*child);

  // Where neither namespace is allowed, the child says so and runs anyway.
  if (child->network_isolated()) {
    EXPECT_THAT(interfaces, HasSubstr("lo:"));
    EXPECT_FALSE(absl::StrContains(interfaces, "eth0:"));
  }
}

}  // namespace
}  // namespace flotilla
