// Which files LUO owns now: preserved for the next kernel, or retrieved from the old one and not finished. A
// file is owned once, whatever session or token it is under.
//
//   Ownership::Claim claim = CW_TRY(ownership.claim(id));   // EBUSY: owned already
//   ...                                                     // given up when the claim goes
#pragma once

#include <cstddef>
#include <unordered_set>
#include <utility>

#include "base/result.h"
#include "luo/file_handler.h"
#include "sync/guarded.h"

namespace causeway::luo {

class Ownership {
 public:
  class Claim {
   public:
    Claim() = default;
    Claim(Claim&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)), id_(other.id_) {}
    Claim& operator=(Claim&& other) noexcept {
      std::swap(owner_, other.owner_);
      std::swap(id_, other.id_);
      return *this;
    }
    ~Claim() {
      if (owner_ != nullptr) owner_->give_up(id_);
    }

   private:
    friend class Ownership;
    Claim(Ownership* owner, FileId id) : owner_(owner), id_(id) {}
    Ownership* owner_ = nullptr;
    FileId id_;
  };

  Result<Claim> claim(FileId id) {
    if (!ids_.with([&](auto& ids) { return ids.insert(id).second; }))
      return fail(EBUSY, "the file is preserved already, or retrieved and not finished");
    return Claim(this, id);
  }
  size_t size() const {
    return ids_.with([](const auto& ids) { return ids.size(); });
  }

 private:
  struct Hash {
    size_t operator()(FileId id) const {
      return std::hash<uint64_t>{}(id.low ^ (id.high * 0x9e3779b97f4a7c15));
    }
  };
  void give_up(FileId id) {
    ids_.with([&](auto& ids) { ids.erase(id); });
  }

  sync::Guarded<std::unordered_set<FileId, Hash>> ids_{sync::LockName("luo.ownership")};
};

}  // namespace causeway::luo
