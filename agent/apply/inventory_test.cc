// SPDX-License-Identifier: Apache-2.0

#include "agent/apply/inventory.h"

#include "gtest/gtest.h"

namespace flotilla::agent {
namespace {

core::v1::ManifestEntry Want(const std::string& kind, const std::string& name) {
  core::v1::ManifestEntry want;
  want.mutable_key()->set_version("v1");
  want.mutable_key()->set_kind(kind);
  want.mutable_key()->set_namespace_("shop");
  want.mutable_key()->set_name(name);
  return want;
}

TEST(Inventory, FindsAnObjectWhateverItsVersion) {
  Inventory inventory;
  Inventory::Entry entry;
  *entry.mutable_key() = Want("ConfigMap", "a").key();
  entry.set_uid("u1");
  inventory.Put(entry);

  core::v1::ResourceKey other = entry.key();
  other.set_version("v2");

  ASSERT_NE(inventory.Find(other), nullptr);
  EXPECT_EQ(inventory.Find(other)->uid(), "u1");
}

TEST(Inventory, ClaimsOnlyWhatIsNotYetTheBundles) {
  const core::v1::ManifestEntry a = Want("ConfigMap", "a");
  const core::v1::ManifestEntry b = Want("ConfigMap", "b");
  Inventory inventory;
  for (Inventory::Entry& claim : EntriesToClaim(inventory, "one", 1, {&a})) {
    inventory.Put(std::move(claim));
  }

  const auto claims = EntriesToClaim(inventory, "one", 2, {&a, &b});

  ASSERT_EQ(claims.size(), 1u);
  EXPECT_EQ(claims[0].key().name(), "b");
}

TEST(Inventory, AClaimOfAnotherBundlesObjectKeepsWhatIsKnownOfIt) {
  const core::v1::ManifestEntry a = Want("ConfigMap", "a");
  Inventory inventory;
  Inventory::Entry entry;
  *entry.mutable_key() = a.key();
  entry.set_uid("u1");
  entry.set_bundle_id("one");
  entry.set_applied_digest("d");
  inventory.Put(entry);

  const auto claims = EntriesToClaim(inventory, "two", 7, {&a});

  ASSERT_EQ(claims.size(), 1u);
  EXPECT_EQ(claims[0].uid(), "u1");
  EXPECT_EQ(claims[0].applied_digest(), "d");
  EXPECT_EQ(claims[0].bundle_id(), "two");
}

TEST(Inventory, AnObjectThatChangesHandsIsTheNewBundlesAlone) {
  Inventory inventory;
  Inventory::Entry entry;
  *entry.mutable_key() = Want("ConfigMap", "a").key();
  entry.set_bundle_id("one");
  inventory.Put(entry);
  entry.set_bundle_id("two");
  inventory.Put(entry);

  EXPECT_TRUE(inventory.OfBundle("one").empty());
  ASSERT_EQ(inventory.OfBundle("two").size(), 1u);

  inventory.Remove(IdentityOf(entry.key()));
  EXPECT_TRUE(inventory.OfBundle("two").empty());
}

}  // namespace
}  // namespace flotilla::agent
