// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/apply_plan.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

using core::v1::Manifest;
using core::v1::ManifestEntry;

ManifestEntry Want(const std::string& group, const std::string& kind,
                   const std::string& name) {
  ManifestEntry want;
  want.mutable_key()->set_group(group);
  want.mutable_key()->set_version("v1");
  want.mutable_key()->set_kind(kind);
  if (kind != "Namespace" && kind != "CustomResourceDefinition") {
    want.mutable_key()->set_namespace_("shop");
  }
  want.mutable_key()->set_name(name);
  want.set_blob_digest("digest of " + name);
  return want;
}

// One bundle after another, each with an order of its own.
class PlanApplyTest : public testing::Test {
 protected:
  void Assign(const std::string& bundle, const Manifest& manifest) {
    claims_.Add(bundle, ++order_, manifest);
  }
  void Own(const std::string& bundle, const ManifestEntry& want) {
    Inventory::Entry entry;
    *entry.mutable_key() = want.key();
    entry.set_uid("uid of " + want.key().name());
    entry.set_bundle_id(bundle);
    entry.set_applied_digest(want.blob_digest());
    entry.set_keep(want.keep());
    inventory_.Put(entry);
  }
  ApplyPlan Plan(const std::string& bundle, const Manifest* manifest,
                 bool keep_resources = false) {
    PlanRequest request;
    request.bundle_id = bundle;
    request.manifest = manifest;
    request.keep_resources = keep_resources;
    return PlanApply(
        request, inventory_, claims_,
        [this](const Inventory::Entry&) { return in_sync_; },
        [](const std::string& ns) { return ns == "there"; });
  }
  std::vector<std::string> Prunes(const ApplyPlan& plan) {
    std::vector<std::string> names;
    for (const auto& group : plan.prunes) {
      for (const PlannedPrune& prune : group) names.push_back(prune.key.name());
    }
    return names;
  }

  Inventory inventory_;
  Claims claims_;
  uint64_t order_ = 0;
  bool in_sync_ = true;
};

TEST_F(PlanApplyTest, NamespacesFirstThenCrdsAndWebhooksLast) {
  Manifest manifest;
  *manifest.add_entries() = Want("admissionregistration.k8s.io",
                                 "ValidatingWebhookConfiguration", "hook");
  *manifest.add_entries() = Want("apps", "Deployment", "web");
  *manifest.add_entries() = Want("", "ConfigMap", "settings");
  *manifest.add_entries() =
      Want("apiextensions.k8s.io", "CustomResourceDefinition", "crd");
  *manifest.add_entries() = Want("", "Namespace", "shop");
  *manifest.add_entries() = Want("example.com", "Widget", "w");
  Assign("one", manifest);

  const ApplyPlan plan = Plan("one", &manifest);

  EXPECT_EQ(plan.waves, (std::vector<std::vector<int>>{
                            {4}, {3}, {2}, {1}, {5}, {0}}));
}

TEST_F(PlanApplyTest, PlansNothingForWhatIsInSync) {
  Manifest manifest;
  *manifest.add_entries() = Want("", "ConfigMap", "a");
  Own("one", manifest.entries(0));
  Assign("one", manifest);

  EXPECT_TRUE(Plan("one", &manifest).waves.empty());

  in_sync_ = false;
  EXPECT_EQ(Plan("one", &manifest).waves.size(), 1u);
  in_sync_ = true;
  manifest.mutable_entries(0)->set_blob_digest("other");
  EXPECT_EQ(Plan("one", &manifest).waves.size(), 1u);
}

TEST_F(PlanApplyTest, EnsuresOnlyNamespacesThatAreNotThere) {
  Manifest manifest;
  for (const char* name : {"there", "missing"}) {
    ManifestEntry ns = Want("", "Namespace", name);
    ns.set_ensure_namespace(true);
    *manifest.add_entries() = ns;
  }

  EXPECT_EQ(Plan("one", &manifest).waves,
            (std::vector<std::vector<int>>{{1}}));
}

TEST_F(PlanApplyTest, PrunesInReverseOrderWhatTheManifestNoLongerHas) {
  Own("one", Want("", "ConfigMap", "settings"));
  Own("one", Want("apps", "Deployment", "web"));
  Own("other", Want("apps", "Deployment", "theirs"));
  const Manifest empty;

  EXPECT_EQ(Prunes(Plan("one", &empty)),
            (std::vector<std::string>{"web", "settings"}));
}

TEST_F(PlanApplyTest, NeverPrunesWhatIsKept) {
  ManifestEntry kept = Want("apiextensions.k8s.io", "CustomResourceDefinition",
                            "crd");
  kept.set_keep(true);
  Own("one", kept);

  const ApplyPlan plan = Plan("one", nullptr);

  EXPECT_TRUE(plan.prunes.empty());
  EXPECT_EQ(plan.forget.size(), 1u);
  ASSERT_EQ(plan.notes.size(), 1u);
  EXPECT_NE(plan.notes[0].find("stays"), std::string::npos);
}

TEST_F(PlanApplyTest, KeepResourcesForgetsAndDeletesNothing) {
  Own("one", Want("", "ConfigMap", "a"));

  const ApplyPlan plan = Plan("one", nullptr, /*keep_resources=*/true);

  EXPECT_TRUE(plan.prunes.empty());
  EXPECT_EQ(plan.forget.size(), 1u);
}

TEST_F(PlanApplyTest, AnObjectThatMovesToAnotherBundleIsTakenOverNotDeleted) {
  Manifest manifest;
  *manifest.add_entries() = Want("", "ConfigMap", "a");
  Own("old", manifest.entries(0));
  Assign("new", manifest);

  const ApplyPlan plan = Plan("old", nullptr);
  EXPECT_TRUE(plan.prunes.empty());
  ASSERT_EQ(plan.transfers.size(), 1u);
  EXPECT_EQ(plan.transfers[0].second, "new");
  EXPECT_EQ(Plan("new", &manifest).waves.size(), 1u);
}

TEST_F(PlanApplyTest, OfTwoBundlesThatClaimAnObjectTheOneThatHasItKeepsIt) {
  Manifest manifest;
  *manifest.add_entries() = Want("", "ConfigMap", "a");
  Assign("old", manifest);
  Assign("new", manifest);

  EXPECT_TRUE(Plan("old", &manifest).taken.empty());
  const ApplyPlan plan = Plan("new", &manifest);
  ASSERT_EQ(plan.taken.size(), 1u);
  EXPECT_EQ(plan.taken[0].second, "old");
  EXPECT_TRUE(plan.waves.empty());

  Own("new", manifest.entries(0));
  EXPECT_EQ(Plan("old", &manifest).taken.size(), 1u);
  EXPECT_EQ(claims_.RivalOf(IdentityOf(manifest.entries(0).key()), "new"),
            "old");
}

TEST_F(PlanApplyTest, ANamespaceWithAnotherBundlesObjectsStays) {
  Own("one", Want("", "Namespace", "shop"));
  Manifest theirs;
  *theirs.add_entries() = Want("", "ConfigMap", "a");
  Assign("two", theirs);

  const ApplyPlan plan = Plan("one", nullptr);

  EXPECT_TRUE(plan.prunes.empty());
  EXPECT_EQ(plan.forget.size(), 1u);
}

TEST_F(PlanApplyTest, ANamespaceThatTheBundleStillUsesStays) {
  Own("one", Want("", "Namespace", "shop"));
  Manifest manifest;
  *manifest.add_entries() = Want("", "ConfigMap", "a");
  Assign("one", manifest);

  const ApplyPlan plan = Plan("one", &manifest);

  EXPECT_TRUE(plan.prunes.empty());
  EXPECT_EQ(plan.forget.size(), 1u);
  EXPECT_EQ(plan.notes.size(), 1u);
  // With the bundle goes its Namespace too.
  claims_.Remove("one", manifest);
  EXPECT_EQ(Prunes(Plan("one", nullptr)), (std::vector<std::string>{"shop"}));
}

TEST_F(PlanApplyTest, ABundleThatIsRemovedClaimsNothing) {
  Manifest manifest;
  *manifest.add_entries() = Want("", "ConfigMap", "a");
  Assign("one", manifest);
  Assign("two", manifest);
  const ObjectIdentity id = IdentityOf(manifest.entries(0).key());

  claims_.Remove("one", manifest);
  EXPECT_EQ(claims_.OwnerOf(id, inventory_), "two");
  EXPECT_FALSE(claims_.NamespaceInUse("shop", "two"));

  claims_.Remove("two", manifest);
  EXPECT_FALSE(claims_.Wanted(id));
  EXPECT_FALSE(claims_.NamespaceInUse("shop", ""));
}

}  // namespace
}  // namespace flotilla::agent
