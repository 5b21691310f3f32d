// A file type for tests: a FakeFile is a number, and its handler does as it is told.
//
//   FakeHandler handler(journal, &kho);       // with KHO a preserved page per file holds the number
//   handler.script.freeze_error = EIO;
//   FileRef file = fake_file(5);
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "kho/kho.h"
#include "luo/file_handler.h"
#include "luo/session.h"
#include "luo/testing/journal.h"

namespace causeway::luo::testing {

struct FakeFile : file::File {
  explicit FakeFile(uint64_t value, std::string type) : number(value), kind(std::move(type)) {}
  std::string link_text() const override { return kind + " " + std::to_string(number); }
  uint64_t number;  // its content, and its inode
  std::string kind;
};

inline file::FileRef fake_file(uint64_t number, std::string kind = "fake") {
  return std::make_shared<FakeFile>(number, std::move(kind));
}
inline uint64_t number_of(const file::FileRef& file) {
  return static_cast<const FakeFile&>(*file).number;
}

class FakeHandler : public FileHandler {
 public:
  struct Script {
    int preserve_error = 0;
    int freeze_error = 0;
    uint64_t freeze_error_at = ~uint64_t{0};  // only this file; all: freeze_error with the default
    int retrieve_error = 0;
    bool can_finish = true;
    bool retrieve_nothing = false;
    std::function<Status(FileArgs&)> in_preserve;
    std::function<Status(FileArgs&)> in_retrieve;
  };

  // Without KHO the number itself is handed over. `kind`: of the files it accepts.
  explicit FakeHandler(Journal& journal, kho::Kho* kho = nullptr, std::string compatible = "fake-v1",
                       std::string kind = "fake")
      : journal_(journal), kho_(kho), compatible_(std::move(compatible)), kind_(std::move(kind)) {}

  Script script;

  const char* compatible() const override { return compatible_.c_str(); }
  bool can_preserve(const file::FileRef& file) override {
    auto* fake = dynamic_cast<const FakeFile*>(file.get());
    return fake != nullptr && fake->kind == kind_;
  }
  FileId id(const file::FileRef& file) const override { return {1, number_of(file)}; }

  Status preserve(FileArgs& args) override {
    log("preserve", number_of(args.file));
    if (script.in_preserve) CW_TRY(script.in_preserve(args));
    if (script.preserve_error != 0) return fail(script.preserve_error, "told to");
    args.serialized_data = number_of(args.file);
    if (kho_ != nullptr) {
      auto* page = static_cast<uint64_t*>(CW_TRY(kho_->alloc_preserve(sizeof(uint64_t))));
      *page = number_of(args.file);
      args.private_data = std::shared_ptr<void>(page, [](void*) {});
      args.serialized_data = kho_->map().direct_map().to_phys(page).value();
    }
    return {};
  }
  void unpreserve(FileArgs& args) override {
    log("unpreserve", number_of(args.file));
    if (kho_ != nullptr) kho_->unpreserve_free(args.private_data.get());
  }
  Status freeze(FileArgs& args) override {
    const uint64_t number = number_of(args.file);
    log("freeze", number);
    const bool here = script.freeze_error_at == ~uint64_t{0} || script.freeze_error_at == number;
    if (script.freeze_error != 0 && here) return fail(script.freeze_error, "told to");
    return {};
  }
  void unfreeze(FileArgs& args) override { log("unfreeze", number_of(args.file)); }

  Status retrieve(FileArgs& args) override {
    const uint64_t number = number_in(args.serialized_data);
    log("retrieve", number);
    if (script.in_retrieve) CW_TRY(script.in_retrieve(args));
    if (script.retrieve_error != 0) return fail(script.retrieve_error, "told to");
    if (script.retrieve_nothing) return {};
    args.file = fake_file(number, kind_);
    free_data(args.serialized_data);
    return {};
  }
  bool can_finish(FileArgs& args) override {
    journal_.add(args.file ? "can_finish " + std::to_string(number_of(args.file)) : "can_finish unretrieved");
    return script.can_finish;
  }
  void finish(FileArgs& args) override {
    switch (args.retrieve_status) {
      case RetrieveStatus::kRetrieved: return log("finish retrieved", number_of(args.file));
      case RetrieveStatus::kFailed: return log("finish failed", number_in(args.serialized_data));
      case RetrieveStatus::kNeverTried:
        log("finish never tried", number_in(args.serialized_data));
        free_data(args.serialized_data);
    }
  }

 private:
  void log(const char* what, uint64_t number) { journal_.add(std::string(what) + " " + std::to_string(number)); }
  uint64_t number_in(uint64_t data) const {
    return kho_ == nullptr ? data : *kho_->map().direct_map().to_virt<uint64_t>(PhysAddr(data));
  }
  void free_data(uint64_t data) {
    if (kho_ != nullptr) kho_->restore_free(kho_->map().direct_map().to_virt<void>(PhysAddr(data)));
  }

  Journal& journal_;
  kho::Kho* kho_;
  std::string compatible_;
  std::string kind_;
};

}  // namespace causeway::luo::testing
