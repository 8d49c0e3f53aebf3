// SPDX-License-Identifier: Apache-2.0

#include "agent/cache/assign_rules.h"

#include <string>

#include "flotilla/core/v1/core.pb.h"
#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using agent::v1::AssignItem;
using agentstate::v1::StoredAssignment;

agent::v1::Upsert Upsert(uint64_t generation, char digest) {
  agent::v1::Upsert upsert;
  upsert.set_bundle_id("b");
  upsert.set_generation(generation);
  upsert.set_manifest_digest(std::string(32, digest));
  upsert.set_manifest_size(10);
  return upsert;
}

StoredAssignment Held(uint64_t generation, char digest) {
  return JudgeUpsert(nullptr, 0, Upsert(generation, digest)).record;
}

TEST(AssignRules, TheHighestGenerationWins) {
  const StoredAssignment held = Held(3, 'a');
  const struct {
    agent::v1::Upsert upsert;
    AssignItem::Code code;
    bool changed;
  } kCases[] = {
      {Upsert(4, 'a'), AssignItem::CODE_STORED, true},
      {Upsert(3, 'a'), AssignItem::CODE_STORED, false},
      {Upsert(3, 'b'), AssignItem::CODE_BAD_DIGEST, false},
      {Upsert(2, 'b'), AssignItem::CODE_STALE_GENERATION, false},
      {Upsert(0, 'b'), AssignItem::CODE_UNSUPPORTED, false},
  };
  for (const auto& test : kCases) {
    SCOPED_TRACE(test.upsert.generation());

    const AssignVerdict verdict = JudgeUpsert(&held, 1, test.upsert);

    EXPECT_EQ(verdict.item.code(), test.code);
    EXPECT_EQ(verdict.changed, test.changed);
  }
}

TEST(AssignRules, AStaleItemIsToldTheGenerationThatIsHeld) {
  const StoredAssignment held = Held(3, 'a');
  EXPECT_EQ(JudgeUpsert(&held, 1, Upsert(2, 'a')).item.detail(), "3");
}

TEST(AssignRules, WhatRunsGoesOnUntilTheNextIsComplete) {
  StoredAssignment held = Held(3, 'a');
  held.set_active_digest("active");
  held.set_active_generation(3);
  held.set_order(5);

  const AssignVerdict verdict = JudgeUpsert(&held, 1, Upsert(4, 'b'));

  EXPECT_EQ(verdict.record.active_digest(), "active");
  EXPECT_EQ(verdict.record.order(), 5u);
}

TEST(AssignRules, ATombstoneNeedsACauseAndAHigherGeneration) {
  const StoredAssignment held = Held(3, 'a');
  agent::v1::Tombstone tombstone;
  tombstone.set_bundle_id("b");
  tombstone.set_generation(4);
  EXPECT_EQ(JudgeTombstone(&held, 1, tombstone).item.code(),
            AssignItem::CODE_UNSUPPORTED);

  tombstone.set_cause(core::v1::DELETE_CAUSE_GIT_REMOVED);
  const AssignVerdict verdict = JudgeTombstone(&held, 1, tombstone);
  EXPECT_EQ(verdict.item.code(), AssignItem::CODE_STORED);
  EXPECT_TRUE(verdict.record.tombstone());

  tombstone.set_generation(3);
  EXPECT_EQ(JudgeTombstone(&held, 1, tombstone).item.code(),
            AssignItem::CODE_BAD_DIGEST);
  tombstone.set_generation(2);
  EXPECT_EQ(JudgeTombstone(&held, 1, tombstone).item.code(),
            AssignItem::CODE_STALE_GENERATION);
}

TEST(AssignRules, RefusesWhatIsOverALimit) {
  agent::v1::Upsert upsert = Upsert(1, 'a');
  EXPECT_EQ(JudgeUpsert(nullptr, kMaxBundles, upsert).item.code(),
            AssignItem::CODE_TOO_LARGE);
  upsert.set_manifest_size(kMaxManifestBytes + 1);
  EXPECT_EQ(JudgeUpsert(nullptr, 0, upsert).item.code(),
            AssignItem::CODE_TOO_LARGE);
}

}  // namespace
}  // namespace flotilla::agent
