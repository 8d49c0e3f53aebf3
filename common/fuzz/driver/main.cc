// SPDX-License-Identifier: Apache-2.0
//
// main() of fuzz tests that are not built for libFuzzer: feeds
// LLVMFuzzerTestOneInput() the seed files and mutations of them.
//
//   TEST [--runs=N] [--max_seconds=N] [--token=TEXT]... [SEED-FILE]...
//
// An input that ends the process is written to the directory that Bazel keeps,
// and printed in hex when it is short. An input that takes ten seconds ends it.
// Give a file alone with --runs=0 to see it again.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "common/fuzz/mutator.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr unsigned kMaxInputSeconds = 10;
constexpr size_t kMaxInputBytes = 64 << 10;
constexpr size_t kMaxPrinted = 2000;

// Read by the signal handler.
const uint8_t* g_input = nullptr;
size_t g_input_size = 0;
char g_output_path[4096] = "";

void Say(const char* text) {
  const ssize_t written = write(STDERR_FILENO, text, strlen(text));
  (void)written;
}

// Async-signal-safe.
void OnSignal(int signal_number) {
  Say(signal_number == SIGALRM ? "fuzz: an input took too long\n"
                               : "fuzz: an input ended the process\n");
  if (*g_output_path != '\0') {
    const int file = open(g_output_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file >= 0) {
      const ssize_t written = write(file, g_input, g_input_size);
      (void)written;
      close(file);
      Say("fuzz: it lies in ");
      Say(g_output_path);
      Say("\n");
    }
  }
  if (g_input_size <= kMaxPrinted) {
    Say("fuzz: in hex: ");
    for (size_t i = 0; i < g_input_size; ++i) {
      const char digits[] = "0123456789abcdef";
      const char hex[3] = {digits[g_input[i] >> 4], digits[g_input[i] & 15],
                           '\0'};
      Say(hex);
    }
    Say("\n");
  }
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

void Run(const std::string& input) {
  g_input = reinterpret_cast<const uint8_t*>(input.data());
  g_input_size = input.size();
  alarm(kMaxInputSeconds);
  LLVMFuzzerTestOneInput(g_input, g_input_size);
  alarm(0);
  g_input_size = 0;
}

uint64_t NumberFromEnvironment(const char* name, uint64_t fallback) {
  const char* text = getenv(name);
  uint64_t number = 0;
  return text != nullptr && absl::SimpleAtoi(text, &number) ? number : fallback;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t runs = 1000;
  uint64_t max_seconds = 10;
  std::vector<std::string> tokens;
  std::vector<std::string> corpus;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (absl::ConsumePrefix(&argument, "--runs=")) {
      if (!absl::SimpleAtoi(argument, &runs)) return 2;
    } else if (absl::ConsumePrefix(&argument, "--max_seconds=")) {
      if (!absl::SimpleAtoi(argument, &max_seconds)) return 2;
    } else if (absl::ConsumePrefix(&argument, "--token=")) {
      tokens.emplace_back(argument);
    } else {
      std::ifstream file(argv[i], std::ios::binary);
      if (!file) {
        fprintf(stderr, "fuzz: cannot read %s\n", argv[i]);
        return 2;
      }
      corpus.emplace_back(std::istreambuf_iterator<char>(file),
                          std::istreambuf_iterator<char>());
    }
  }
  runs = NumberFromEnvironment("FLOTILLA_FUZZ_RUNS", runs);
  const uint64_t seed = NumberFromEnvironment("FLOTILLA_FUZZ_SEED", 1);

  const char* outputs = getenv("TEST_UNDECLARED_OUTPUTS_DIR");
  if (outputs != nullptr) {
    snprintf(g_output_path, sizeof(g_output_path), "%s/fuzz-input", outputs);
  }
  for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM}) {
    signal(number, OnSignal);
  }

  for (const std::string& input : corpus) Run(input);
  corpus.emplace_back();
  flotilla::Mutator mutator(seed, std::move(tokens), kMaxInputBytes);
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::seconds(max_seconds);
  uint64_t done = 0;
  while (done < runs && std::chrono::steady_clock::now() < end) {
    Run(mutator.Next(corpus));
    ++done;
  }
  fprintf(stderr, "fuzz: %zu seeds, %llu mutations, seed %llu\n",
          corpus.size() - 1, static_cast<unsigned long long>(done),
          static_cast<unsigned long long>(seed));
  return 0;
}
