// SPDX-License-Identifier: Apache-2.0
//
// Measures what the manager's store costs: writing records one by one, in
// transactions of a hundred, and reading them all, as at a start.
//
//   store_load FOLDER RECORDS BYTES

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "common/crypto/sealed_box.h"
#include "common/env/posix/posix_random.h"
#include "common/event/real_loop.h"
#include "common/status/status_macros.h"
#include "manager/store/sqlite_store.h"
#include "manager/store/store.h"

namespace {

using Clock = std::chrono::steady_clock;
using flotilla::manager::FamilyWriter;
using flotilla::manager::Op;
using flotilla::manager::RangeResult;

double Milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

absl::Status Measure(const std::string& folder, int records,
                     const std::string& value) {
  flotilla::RealLoop loop;
  flotilla::PosixRandom random;
  ASSIGN_OR_RETURN(const auto box,
                   flotilla::SealedBox::Create(folder + "/key", random));
  ASSIGN_OR_RETURN(const auto store,
                   flotilla::manager::SqliteStore::Open(loop, random, *box,
                                                        folder + "/store.db"));
  FamilyWriter writer(*store, "/document/");
  absl::Status status;
  for (const int each : {1, 100}) {
    const Clock::time_point start = Clock::now();
    int left = records;
    for (int i = 0; i < records; i += each) {
      std::vector<Op> ops;
      for (int k = i; k < i + each; ++k) {
        ops.push_back(Op::Put(
            absl::StrFormat("/document/fleet-default/GitRepo/repo-%07d", k),
            value));
      }
      writer.Txn({}, std::move(ops),
                 [&, each](const absl::StatusOr<int64_t>& revision) {
                   status.Update(revision.status());
                   left -= each;
                   if (left <= 0) loop.Stop();
                 });
    }
    loop.RunUntilStopped();
    RETURN_IF_ERROR(status);
    std::printf("%d records of %zu bytes, %d in a transaction: %.0f ms\n",
                records, value.size(), each,
                Milliseconds(Clock::now() - start));
  }
  for (int i = 0; i < 3; ++i) {
    const Clock::time_point start = Clock::now();
    store->Range("/document/", [&](const absl::StatusOr<RangeResult>& all) {
      status = all.status();
      loop.Stop();
    });
    loop.RunUntilStopped();
    RETURN_IF_ERROR(status);
    std::printf("reading them all: %.1f ms\n",
                Milliseconds(Clock::now() - start));
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: store_load FOLDER RECORDS BYTES\n");
    return 1;
  }
  const absl::Status status =
      Measure(argv[1], std::atoi(argv[2]),
              std::string(static_cast<size_t>(std::atoi(argv[3])), 'v'));
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return 1;
}
