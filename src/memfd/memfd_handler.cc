#include "memfd/memfd_handler.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <new>
#include <vector>

#include "base/log.h"
#include "base/point.h"
#include "memfd/copied_file.h"
#include "memfd/record.h"

namespace causeway::memfd {

// What preserve() made, for undoing it.
struct Preserved {
  file::Identity file;
  abi::Ser* ser = nullptr;
  std::shared_ptr<Adopted> memory;  // null: the file is empty
  uint64_t pages = 0;
  const mm::VmArea* array = nullptr;
  bool blocks_preserved = false;
  bool array_preserved = false;
};

namespace {

const file::NativeFile* as_memory(const file::FileRef& file) {
  const auto* native = dynamic_cast<const file::NativeFile*>(file.get());
  return native != nullptr && native->is_memory() ? native : nullptr;
}

void undo(kho::Kho& kho, mm::Vmalloc& vmalloc, Preserved& preserved) {
  if (preserved.array_preserved) kho.unpreserve_vmalloc(preserved.ser->folios);
  if (preserved.blocks_preserved) {
    for (const kho::Block& block : cut(preserved.memory->frames().begin, preserved.pages))
      kho.unpreserve_page(kho.map().page(block.pfn), block.order);
  }
  CW_POINT("memfd.unpreserve.before_free");
  if (preserved.array != nullptr) vmalloc.free(preserved.array->address);
  kho.unpreserve_free(preserved.ser);
  preserved = {};
}

// The folios of the file, and the array that lists them.
Status preserve_folios(kho::Kho& kho, mm::Vmalloc& vmalloc, Preserved& preserved) {
  const Pfn first = preserved.memory->frames().begin;
  const std::vector<kho::Block> blocks = cut(first, preserved.pages);
  preserved.array = CW_TRY(vmalloc.alloc(blocks.size() * sizeof(abi::FolioSer), mm::kGfpKernel));
  auto* entries = reinterpret_cast<abi::FolioSer*>(preserved.array->address);
  for (size_t i = 0; i < blocks.size(); ++i)
    entries[i] = abi::make_folio(blocks[i].pfn.value(), blocks[i].pfn - first);
  CW_FAIL_POINT("memfd.preserve.before_blocks");
  CW_TRY(kho.preserve_blocks(blocks));
  preserved.blocks_preserved = true;
  CW_FAIL_POINT("memfd.preserve.before_array");
  const kho::abi::VmallocDescriptor folios = CW_TRY(kho.preserve_vmalloc(preserved.array->address));
  preserved.ser->folios = folios;
  preserved.ser->nr_folios = blocks.size();
  preserved.array_preserved = true;
  CW_POINT("memfd.preserve.after_array");
  return {};
}

// Whether the folios are one client file from its first page on, so that the file itself is what was preserved.
bool is_whole_region(const Record& record, const Adopted& memory) {
  const PfnRange frames = memory.frames();
  uint64_t pages = 0;
  for (const Folio& folio : record.folios()) {
    if (!folio.client || folio.index != pages || folio.pfn != frames.begin + pages) return false;
    pages += folio.order.pages();
    if (pages > frames.pages()) return false;
  }
  // A region may be longer than what was preserved of it: a file that was adopted while it was larger.
  return pages >= pages_for(record.ser().size);
}

// A new open file of the client's own memfd.
Result<UniqueFd> reopen(const Adopted& memory, const abi::Ser& ser) {
  const UniqueFd held = CW_TRY(memory.descriptor());
  const std::string path = fmt::format("/proc/self/fd/{}", held.get());
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_LARGEFILE | O_CLOEXEC));
  if (!fd && (errno == EACCES || errno == EPERM)) fd.reset(::open(path.c_str(), O_RDONLY | O_LARGEFILE | O_CLOEXEC));
  if (!fd) return fail_with_errno("cannot open a preserved memfd again");
  auto file = CW_TRY(file::NativeFile::wrap(std::move(fd)));
  const int seals = ::fcntl(file->fd(), F_GET_SEALS);
  if (seals < 0) return fail_with_errno("cannot read a preserved memfd's seals");
  const uint32_t missing = ser.seals & ~static_cast<uint32_t>(seals);
  if (CW_TRY(file->size()) != ser.size && ::ftruncate(file->fd(), static_cast<off_t>(ser.size)) != 0)
    return fail_with_errno("cannot give a preserved memfd its size back");
  if (missing != 0 && ::fcntl(file->fd(), F_ADD_SEALS, static_cast<int>(missing)) != 0)
    return fail_with_errno("cannot seal a preserved memfd as it was");
  if (::lseek(file->fd(), static_cast<off_t>(ser.position), SEEK_SET) < 0)
    return fail_with_errno("cannot set a memfd's preserved position");
  UniqueFd result(::fcntl(file->fd(), F_DUPFD_CLOEXEC, 0));
  if (!result) return fail_with_errno("cannot duplicate a preserved memfd");
  return result;
}

}  // namespace

MemfdHandler::MemfdHandler(ClientMemory& memory, FrozenFiles& frozen, kho::Kho& kho, mm::Vmalloc& vmalloc)
    : memory_(memory), frozen_(frozen), kho_(kho), vmalloc_(vmalloc) {}
MemfdHandler::~MemfdHandler() = default;

const char* MemfdHandler::compatible() const {
  return abi::kCompatible;
}

bool MemfdHandler::can_preserve(const file::FileRef& file) {
  return as_memory(file) != nullptr;
}

luo::FileId MemfdHandler::id(const file::FileRef& file) const {
  const file::NativeFile* native = as_memory(file);
  if (native == nullptr) return luo::FileHandler::id(file);
  return {native->identity().device, native->identity().inode};
}

Status MemfdHandler::preserve(luo::FileArgs& args) {
  const file::NativeFile* file = as_memory(args.file);
  if (file == nullptr) return fail(EINVAL, "not a memfd");
  // First of all: what is looked at from here on stays as it is.
  frozen_.add(file->identity());
  auto preserved = std::make_shared<Preserved>();
  preserved->file = file->identity();
  if (Status made = preserve_file(*file, *preserved); !made) {
    undo(kho_, vmalloc_, *preserved);
    frozen_.remove(file->identity());
    return made;
  }
  args.serialized_data = kho_.map().direct_map().to_phys(preserved->ser).value();
  args.private_data = std::move(preserved);
  return {};
}

Status MemfdHandler::preserve_file(const file::NativeFile& file, Preserved& preserved) {
  const uint64_t size = CW_TRY(file.size());
  if (pages_for(size) > kMaxPages) return fail(EFBIG, "a memfd of more than 2^32 - 1 pages");
  const int seals = ::fcntl(file.fd(), F_GET_SEALS);
  if (seals < 0) return fail_with_errno("cannot read a memfd's seals");
  if ((static_cast<uint32_t>(seals) & ~abi::kSealsSupported) != 0) return fail(EOPNOTSUPP, "a memfd with unknown seals");
  const off_t position = ::lseek(file.fd(), 0, SEEK_CUR);
  if (position < 0) return fail_with_errno("cannot read a memfd's position");

  preserved.ser = new (CW_TRY(kho_.alloc_preserve(sizeof(abi::Ser)))) abi::Ser{};
  preserved.ser->position = static_cast<uint64_t>(position);
  preserved.ser->size = size;
  preserved.ser->seals = static_cast<uint32_t>(seals);
  if (size == 0) return {};
  CW_FAIL_POINT("memfd.preserve.before_adopt");
  preserved.memory = CW_TRY(memory_.adopt(file));
  preserved.pages = std::min(pages_for(size), preserved.memory->frames().pages());
  return preserve_folios(kho_, vmalloc_, preserved);
}

void MemfdHandler::unpreserve(luo::FileArgs& args) {
  auto preserved = std::static_pointer_cast<Preserved>(args.private_data);
  if (preserved == nullptr) return;
  const file::Identity file = preserved->file;
  undo(kho_, vmalloc_, *preserved);
  frozen_.remove(file);
  args.private_data.reset();
  args.serialized_data = 0;
}

Status MemfdHandler::freeze(luo::FileArgs& args) {
  auto preserved = std::static_pointer_cast<Preserved>(args.private_data);
  const file::NativeFile* file = as_memory(args.file);
  if (preserved == nullptr || file == nullptr) return fail(EINVAL, "this memfd is not preserved");
  CW_FAIL_POINT("memfd.freeze.begin");
  const uint64_t size = CW_TRY(file->size());
  // Linux refuses to resize a preserved file. Here its owner can, and what came on top is in nobody's list.
  if (pages_for(size) > preserved->pages) {
    log::warn("memfd", "a preserved memfd has grown to {} bytes, want {} or less", size, preserved->pages * kPageSize);
    return fail(EPERM, "a memfd has grown since it was preserved");
  }
  const off_t position = ::lseek(file->fd(), 0, SEEK_CUR);
  if (position < 0) return fail_with_errno("cannot read a memfd's position");
  preserved->ser->size = size;
  preserved->ser->position = static_cast<uint64_t>(position);
  return {};
}

Status MemfdHandler::retrieve(luo::FileArgs& args) {
  Record record = CW_TRY(Record::read(kho_, vmalloc_, args.serialized_data));
  CW_FAIL_POINT("memfd.retrieve.after_read");
  std::shared_ptr<Adopted> region;
  if (!record.folios().empty() && record.folios().front().client) {
    region = memory_.find(record.folios().front().pfn.address());
    if (region != nullptr && !is_whole_region(record, *region)) region.reset();
  }
  UniqueFd fd = region != nullptr ? CW_TRY(reopen(*region, record.ser())) : CW_TRY(make_copy(memory_, kho_, record));
  std::shared_ptr<file::NativeFile> file = CW_TRY(file::NativeFile::wrap(std::move(fd)));
  CW_POINT("memfd.retrieve.before_give_back");
  for (const Folio& folio : record.folios()) {
    // Only a record that names the same folio could have been faster; that memory is in two files then.
    if (!record.give_back(folio)) return fail(EIO, "a folio was taken by another file");
  }
  record.release();
  if (region != nullptr) {
    sync::MutexLock lock(mutex_);
    retrieved_[args.serialized_data] = std::move(region);
  }
  args.file = std::move(file);
  return {};
}

void MemfdHandler::finish(luo::FileArgs& args) {
  if (args.retrieve_status == luo::RetrieveStatus::kRetrieved) {
    std::shared_ptr<Adopted> region;
    sync::MutexLock lock(mutex_);
    if (auto found = retrieved_.find(args.serialized_data); found != retrieved_.end()) {
      region = std::move(found->second);
      retrieved_.erase(found);
    }
    lock.unlock();
    return;
  }
  // What could not be retrieved is leaked: nobody knows what else is wrong with it.
  if (args.retrieve_status == luo::RetrieveStatus::kFailed) return;
  auto record = Record::read(kho_, vmalloc_, args.serialized_data);
  if (!record) {
    log::warn("memfd", "a preserved memfd is leaked: {}", to_string(record.error()));
    return;
  }
  CW_POINT("memfd.finish.before_give_back");
  // Held while its blocks are claimed, so that the region goes once and for all, with the last of them.
  std::vector<std::shared_ptr<Adopted>> regions;
  for (const Folio& folio : record->folios()) {
    if (folio.client && (regions.empty() || !regions.back()->frames().contains(folio.pfn))) {
      if (auto region = memory_.find(folio.pfn.address())) regions.push_back(std::move(region));
    }
    record->give_back(folio);
  }
  record->release();
}

}  // namespace causeway::memfd
