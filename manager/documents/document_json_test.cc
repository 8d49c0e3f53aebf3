// SPDX-License-Identifier: Apache-2.0

#include "manager/documents/document_json.h"

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "common/status/status_matchers.h"
#include "flotilla/storage/v1/storage.pb.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "manager/documents/bundle_fields.h"
#include "manager/documents/documents.h"
#include "nlohmann/json.hpp"

namespace flotilla::manager {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using google::protobuf::util::MessageDifferencer;
using nlohmann::json;
using storage::v1::Document;

std::string ReadFile(const std::string& name) {
  std::ifstream file("manager/documents/testdata/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  return std::string(std::istreambuf_iterator<char>(file),
                     std::istreambuf_iterator<char>());
}

ParsedDocuments Parse(const std::string& text) {
  ParsedDocuments parsed = ParseDocuments({{"f", text}}, "");
  EXPECT_EQ(DescribeProblems(parsed.errors), "") << text;
  return parsed;
}

TEST(DocumentJson, ReadsBackAsTheSameDocument) {
  for (const ParsedDocument& one :
       Parse(ReadFile("documents_all_keys.yaml")).documents) {
    for (const FileEncoding encoding :
         {FileEncoding::kText, FileEncoding::kCompressed}) {
      const std::string yaml =
          DocumentToYaml(one.document, &one.contents, encoding);
      const std::string text =
          DocumentToJson(one.document, &one.contents, encoding).dump();
      for (const std::string& written : {yaml, text}) {
        // Secrets lose what they need.
        if (one.document.has_secret()) continue;
        const ParsedDocuments again = Parse(written);
        ASSERT_THAT(again.documents, SizeIs(1));
        EXPECT_TRUE(MessageDifferencer::Equals(one.document,
                                               again.documents[0].document))
            << written;
        EXPECT_EQ(one.contents, again.documents[0].contents);
      }
    }
  }
}

TEST(DocumentJson, NeverShowsASecret) {
  for (ParsedDocument& one :
       Parse(ReadFile("documents_all_keys.yaml")).documents) {
    if (!one.document.has_secret()) continue;
    one.document.mutable_secret()->set_sealed("sealed");
    const std::string yaml = DocumentToYaml(one.document);
    EXPECT_THAT(yaml, HasSubstr("type: kubernetes.io/basic-auth"));
    EXPECT_THAT(yaml, Not(HasSubstr("\ndata")));
    EXPECT_THAT(yaml, Not(HasSubstr("stringData")));
    EXPECT_THAT(yaml, Not(HasSubstr("sealed")));
    return;
  }
  FAIL() << "no Secret among the documents";
}

TEST(DocumentJson, LeavesDefaultsOut) {
  const ParsedDocuments parsed = Parse(
      "apiVersion: fleet.cattle.io/v1alpha1\nkind: GitRepo\n"
      "metadata: {name: a}\nspec: {repo: 'https://h/r', paused: false}\n");

  EXPECT_EQ(DocumentToYaml(parsed.documents[0].document),
            "apiVersion: fleet.cattle.io/v1alpha1\nkind: GitRepo\n"
            "metadata:\n  name: a\n  namespace: fleet-default\n"
            "spec:\n  repo: https://h/r\n");
}

TEST(DocumentJson, WritesWhatTheRegistryGave) {
  Document document;
  document.set_kind("Cluster");
  document.set_workspace("w");
  document.set_name("c");
  document.set_uid("u");
  document.set_generation(3);
  document.mutable_create_time()->set_seconds(1700000000);
  document.mutable_cluster();

  EXPECT_EQ(DocumentToJson(document).dump(),
            R"({"apiVersion":"fleet.cattle.io/v1alpha1","kind":"Cluster",)"
            R"("metadata":{"creationTimestamp":"2023-11-14T22:13:20Z",)"
            R"("generation":3,"name":"c","namespace":"w","uid":"u"}})");
}

TEST(DocumentJson, EncodesFilesThatAreNoTextAndAllOfALargeBundle) {
  Document document;
  document.set_kind("Bundle");
  document.mutable_bundle()->add_resources()->set_name("a");
  document.mutable_bundle()->add_resources()->set_name("b");

  std::vector<std::string> contents = {"text: \xc3\xbc\n", "\xff\x01"};
  json files = DocumentToJson(document, &contents)["spec"]["resources"];
  EXPECT_EQ(files[0]["content"], contents[0]);
  EXPECT_FALSE(files[0].contains("encoding"));
  EXPECT_EQ(files[1]["encoding"], "base64+gz");
  EXPECT_THAT(DecodeContent(files[1]["content"].get<std::string>(), 100),
              IsOkAndHolds(contents[1]));

  contents[0] = std::string(1000000, 'x');
  files = DocumentToJson(document, &contents)["spec"]["resources"];
  EXPECT_EQ(files[0]["encoding"], "base64+gz");
  EXPECT_LT(files[0]["content"].get<std::string>().size(), 10000);

  files = DocumentToJson(document)["spec"]["resources"];
  EXPECT_EQ(files.dump(), R"([{"name":"a"},{"name":"b"}])");
}

TEST(DocumentJson, PacksAndUnpacksWithinLimits) {
  for (const std::string& bytes :
       {std::string(), std::string("a"), std::string(100000, '\0')}) {
    EXPECT_THAT(DecodeContent(EncodeContent(bytes), bytes.size()),
                IsOkAndHolds(bytes));
  }
  EXPECT_EQ(EncodeContent("same"), EncodeContent("same"));
  EXPECT_FALSE(DecodeContent(EncodeContent(std::string(1000, 'x')), 999).ok());
}

TEST(DocumentJson, MakesABundleOfWhatWasBuilt) {
  storage::v1::BundleRevision revision;
  revision.add_files()->set_name("a.yaml");
  revision.mutable_options()->set_namespace_("ns");
  storage::v1::HelmOptions& helm = *revision.mutable_options()->mutable_helm();
  helm.set_values_json(R"({"a":1})");
  helm.add_values_files("merged.yaml");
  storage::v1::Target& customization = *revision.add_customizations();
  customization.set_name("target000");
  customization.set_cluster_name("x");
  customization.mutable_options()->set_namespace_("other");
  customization.mutable_options()->mutable_helm()->add_values_files("b.yaml");
  storage::v1::Target& target = *revision.add_targets();
  target.set_name("default");
  target.set_cluster_group("default");
  target.mutable_options();
  storage::v1::Target& veto = *revision.add_targets();
  veto.set_name("veto");
  veto.set_do_not_deploy(true);
  veto.mutable_options();
  revision.set_paused(true);
  const std::vector<std::string> contents = {"a: b\n"};

  const Document document = BundleDocument("w", "n", revision);
  const json out = DocumentToJson(document, &contents);

  EXPECT_EQ(out["spec"]["targets"].size(), 3);
  EXPECT_EQ(out["spec"]["targetRestrictions"].dump(),
            R"([{"clusterGroup":"default","name":"default"},{"name":"veto"}])");
  EXPECT_EQ(out["spec"]["paused"], true);
  EXPECT_EQ(out["spec"]["helm"].dump(), R"({"values":{"a":1}})");
  EXPECT_EQ(out["spec"]["targets"][0]["helm"].dump(), "{}");
  const ParsedDocuments again = Parse(out.dump());
  Document read = again.documents[0].document;
  read.mutable_bundle()->mutable_resources(0)->clear_size();
  EXPECT_TRUE(MessageDifferencer::Equals(document, read))
      << read.DebugString();
  EXPECT_THAT(again.documents[0].contents, ElementsAre("a: b\n"));
}

}  // namespace
}  // namespace flotilla::manager
