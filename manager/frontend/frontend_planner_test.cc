// SPDX-License-Identifier: Apache-2.0

#include "manager/frontend/frontend_planner.h"

#include <string>

#include "gtest/gtest.h"

namespace flotilla::manager {
namespace {

using Step = FrontendStep;

ObjectView Object(const std::string& words) {
  ObjectView view;
  const auto has = [&words](const char* word) {
    return words.find(word) != std::string::npos;
  };
  view.known = !has("unknown");
  view.present = has("present");
  view.deleting = has("deleting");
  view.finalizer = has("finalizer");
  view.deletion_seen = has("seen");
  view.valid = !has("invalid");
  view.judged = has("judged");
  view.uid = has("again") ? "uid-2" : "uid-1";
  return view;
}

DocumentView Document(const std::string& words) {
  DocumentView view;
  const auto has = [&words](const char* word) {
    return words.find(word) != std::string::npos;
  };
  view.present = has("ours") || has("theirs");
  view.ours = has("ours");
  view.leaving = has("leaving");
  view.missing = has("missing");
  view.exported = has("exported");
  view.uid = "uid-1";
  return view;
}

struct Case {
  const char* what;
  const char* object;
  const char* document;
  Step gitrepo;  // With a finalizer.
  Step policy;   // Without one.
  Surroundings::Kind kind = Surroundings::Kind::kServed;
  Surroundings::Fleet fleet = Surroundings::Fleet::kAbsent;
};

TEST(FrontendPlannerTest, NextStepTable) {
  constexpr auto kUnknown = Surroundings::Kind::kUnknown;
  constexpr auto kGoing = Surroundings::Kind::kGoing;
  constexpr auto kServed = Surroundings::Kind::kServed;
  constexpr auto kActive = Surroundings::Fleet::kActive;
  constexpr auto kFleetUnknown = Surroundings::Fleet::kUnknown;
  const Case cases[] = {
      {"nothing there", "", "", Step::kNothing, Step::kNothing},
      {"not known yet", "unknown", "ours", Step::kNothing, Step::kNothing},

      {"new", "present", "", Step::kPutFinalizer, Step::kTake},
      {"marked", "present finalizer", "", Step::kTake, Step::kTake},
      {"taken", "present finalizer judged", "ours", Step::kNothing,
       Step::kNothing},
      {"changed", "present finalizer", "ours", Step::kTake, Step::kTake},
      {"back again", "present finalizer judged", "ours missing", Step::kTake,
       Step::kTake},
      {"made anew", "present finalizer judged again", "ours", Step::kTake,
       Step::kTake},
      {"made anew while the old one goes", "present finalizer judged again",
       "ours leaving", Step::kTake, Step::kTake},
      {"finalizer taken off by hand", "present judged", "ours",
       Step::kPutFinalizer, Step::kNothing},
      {"its document was deleted here", "present finalizer judged", "",
       Step::kTake, Step::kTake},
      {"wrong", "present invalid", "", Step::kRefuseInvalid,
       Step::kRefuseInvalid},
      {"wrong and said", "present invalid judged", "ours", Step::kNothing,
       Step::kNothing},
      {"older one of the CLI, refused", "present finalizer judged", "theirs",
       Step::kNothing, Step::kNothing},
      {"Fleet is active", "present", "", Step::kRefuseFleet,
       Step::kRefuseFleet, kServed, kActive},
      {"Fleet is active, and said", "present judged", "", Step::kNothing,
       Step::kNothing, kServed, kActive},
      {"Fleet may be active", "present", "", Step::kNothing, Step::kNothing,
       kServed, kFleetUnknown},

      {"deleted", "present deleting finalizer judged", "ours", Step::kDelete,
       Step::kDelete},
      {"deleted, is its kind there", "present deleting finalizer", "ours",
       Step::kAskKind, Step::kAskKind, kUnknown},
      {"deleted with its kind", "present deleting finalizer", "ours",
       Step::kMarkMissing, Step::kMarkMissing, kGoing},
      {"deleted with its kind, said", "present deleting finalizer",
       "ours missing", Step::kRemoveFinalizer, Step::kRemoveFinalizer, kGoing},
      {"being undone", "present deleting finalizer", "ours leaving",
       Step::kNothing, Step::kNothing},
      {"undone", "present deleting finalizer", "", Step::kRemoveFinalizer,
       Step::kRemoveFinalizer},
      {"deleted, never taken", "present deleting finalizer", "theirs",
       Step::kRemoveFinalizer, Step::kRemoveFinalizer},
      {"deleted, held by others, ours taken off", "present deleting", "ours",
       Step::kMarkMissing, Step::kNothing},
      {"deleted although Fleet is active", "present deleting finalizer",
       "ours", Step::kDelete, Step::kDelete, kServed, kActive},

      {"absent after a restart", "", "ours", Step::kMarkMissing,
       Step::kMarkMissing},
      {"absent, said", "", "ours missing", Step::kNothing, Step::kNothing},
      {"gone before our eyes", "seen", "ours", Step::kMarkMissing,
       Step::kDelete},
      {"gone, is its kind there", "seen", "ours", Step::kMarkMissing,
       Step::kAskKind, kUnknown},
      {"gone with its kind", "seen", "ours", Step::kMarkMissing,
       Step::kMarkMissing, kGoing},
      {"gone and being undone", "seen", "ours leaving", Step::kNothing,
       Step::kNothing},
      {"of the CLI", "", "theirs", Step::kNothing, Step::kNothing},
      {"made here", "", "theirs exported", Step::kCreateObject,
       Step::kCreateObject},
      {"made here, Fleet is active", "", "theirs exported", Step::kNothing,
       Step::kNothing, kServed, kActive},
      {"made here, leaving", "", "theirs exported leaving", Step::kNothing,
       Step::kNothing},
  };
  for (const Case& c : cases) {
    Surroundings around;
    around.kind = c.kind;
    around.fleet = c.fleet;
    around.needs_finalizer = true;
    EXPECT_EQ(NextStep(Object(c.object), Document(c.document), around),
              c.gitrepo)
        << c.what;
    around.needs_finalizer = false;
    EXPECT_EQ(NextStep(Object(c.object), Document(c.document), around),
              c.policy)
        << c.what << ", without a finalizer";
  }
}

TEST(FrontendPlannerTest, ASecretThatNobodyNamesIsNotKept) {
  Surroundings around;
  around.fleet = Surroundings::Fleet::kAbsent;
  around.wanted = false;
  EXPECT_EQ(NextStep(Object("unknown"), Document("ours"), around),
            Step::kDelete);
  EXPECT_EQ(NextStep(Object("present"), Document(""), around), Step::kNothing);
  EXPECT_EQ(NextStep(Object("present"), Document("theirs"), around),
            Step::kNothing);
}

}  // namespace
}  // namespace flotilla::manager
