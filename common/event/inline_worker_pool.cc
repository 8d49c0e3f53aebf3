// SPDX-License-Identifier: Apache-2.0

#include "common/event/inline_worker_pool.h"

#include <utility>

namespace flotilla {

void InlineWorkerPool::Run(Task work, Task done) {
  loop_.Post([&loop = loop_, alive = alive_, work = std::move(work),
              done = std::move(done)]() mutable {
    if (!*alive) return;
    work();
    work = nullptr;
    loop.Post([alive, done = std::move(done)]() mutable {
      if (*alive) done();
    });
  });
}

}  // namespace flotilla
