// SPDX-License-Identifier: Apache-2.0
//
// The one suite that every engine of Store passes. An engine's test says
//   INSTANTIATE_TEST_SUITE_P(Memory, StoreContractTest,
//                            ::testing::Values(StoreEngine{...}));

#ifndef FLOTILLA_MANAGER_STORE_STORE_CONTRACT_H_
#define FLOTILLA_MANAGER_STORE_STORE_CONTRACT_H_

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"

#include "common/event/loop.h"
#include "common/event/real_loop.h"
#include "manager/store/store.h"

namespace flotilla::manager {

// How a test opens a store. Two calls with one `directory` open the same one.
struct StoreEngine {
  std::string name;
  bool persistent = false;
  // Log entries that are kept; watches from further back are lost. 0: all.
  int kept_revisions = 0;
  std::function<std::unique_ptr<Store>(Loop& loop,
                                       const std::string& directory)>
      open;
};

inline void PrintTo(const StoreEngine& engine, std::ostream* os) {
  *os << engine.name;
}

// Thread-compatible.
class StoreContractTest : public ::testing::TestWithParam<StoreEngine> {
 protected:
  StoreContractTest();

  // Runs the loop until all calls made so far, and the calls that their
  // completions made, have completed.
  void Settle();
  void Reopen();

  absl::StatusOr<int64_t> Txn(std::vector<Compare> compares,
                              std::vector<Op> ops);
  int64_t MustPut(const std::string& key, const std::string& value);
  int64_t MustDelete(const std::string& key);
  RangeResult MustRange(const std::string& prefix,
                        const std::string& after = "",
                        size_t max_bytes = Store::kUnbounded);
  // Appends "revision:key=value", "revision:-key" to `out`, one for each event.
  static Store::OnBatch Record(std::vector<std::string>* out);

  RealLoop loop_;
  const std::string directory_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<FamilyWriter> writer_;
};

}  // namespace flotilla::manager

#endif  // FLOTILLA_MANAGER_STORE_STORE_CONTRACT_H_
