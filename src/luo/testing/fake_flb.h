// A global object for tests: its data is a number, its object a box with that number.
#pragma once

#include <memory>
#include <string>

#include "luo/flb.h"
#include "luo/testing/journal.h"

namespace causeway::luo::testing {

class FakeFlb : public Flb {
 public:
  explicit FakeFlb(Journal& journal, std::string compatible = "flb-v1", uint64_t number = 77)
      : journal_(journal), compatible_(std::move(compatible)), number_(number) {}

  int preserve_error = 0;
  int retrieve_error = 0;
  bool leaves_object = true;

  const char* compatible() const override { return compatible_.c_str(); }
  Status preserve(FlbArgs& args) override {
    journal_.add("preserve " + compatible_);
    if (preserve_error != 0) return fail(preserve_error, "told to");
    args.data = number_;
    if (leaves_object) args.object = std::make_shared<uint64_t>(number_);
    return {};
  }
  void unpreserve(FlbArgs&) override { journal_.add("unpreserve " + compatible_); }
  Status retrieve(FlbArgs& args) override {
    journal_.add("retrieve " + compatible_);
    if (retrieve_error != 0) return fail(retrieve_error, "told to");
    args.object = std::make_shared<uint64_t>(args.data);
    return {};
  }
  void finish(FlbArgs& args) override {
    journal_.add("finish " + compatible_ + " " + std::to_string(*std::static_pointer_cast<uint64_t>(args.object)));
  }

 private:
  Journal& journal_;
  std::string compatible_;
  uint64_t number_;
};

}  // namespace causeway::luo::testing
