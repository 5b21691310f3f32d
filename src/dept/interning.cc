// Texts and stacks of an arena: each once. A look-up takes no lock: a place of the hash table, once set, stays.
#include <cstring>

#include "dept/arena.h"
#include "dept/hash.h"

namespace causeway::dept {

namespace {

// How many places are tried before a text or stack counts as unknown, and is kept a second time.
constexpr uint32_t kProbes = 256;

// The place of `hash` for which `is_it` says yes, or the first empty one; nullptr: neither.
template <typename IsIt>
std::atomic<uint32_t>* find(std::atomic<uint32_t>* places, uint32_t count, uint64_t hash, const IsIt& is_it) {
  for (uint32_t i = 0; i < kProbes; ++i) {
    std::atomic<uint32_t>& place = places[(hash + i) & (count - 1)];
    const uint32_t id = place.load(std::memory_order_acquire);
    if (id == 0 || is_it(id)) return &place;
  }
  return nullptr;
}

}  // namespace

StringId Arena::intern(std::string_view text) {
  constexpr size_t kLongest = 1 << 16;
  if (text.empty()) return StringId::kNone;
  if (text.size() > kLongest) text = text.substr(0, kLongest);
  if (const void* end = memchr(text.data(), 0, text.size())) {
    text = text.substr(0, static_cast<size_t>(static_cast<const char*>(end) - text.data()));
    if (text.empty()) return StringId::kNone;
  }
  auto* places = words<std::atomic<uint32_t>>(Table::kStringIndex);
  const uint32_t count = capacity(Table::kStringIndex);
  char* bytes = words<char>(Table::kString);
  const uint64_t hash = hash_of(text);
  // Ends at the first difference: what lies behind a shorter text may be being written.
  const auto is_it = [&](uint32_t id) {
    for (size_t i = 0; i < text.size(); ++i) {
      if (bytes[id + i] != text[i]) return false;
    }
    return bytes[id + text.size()] == 0;
  };
  std::atomic<uint32_t>* place = find(places, count, hash, is_it);
  if (place != nullptr) {
    if (const uint32_t id = place->load(std::memory_order_acquire)) return StringId(id);
  }
  EngineLockGuard hold(interning_);
  place = find(places, count, hash, is_it);
  if (place != nullptr) {
    if (const uint32_t id = place->load(std::memory_order_relaxed)) return StringId(id);
  }
  const uint32_t id = take(Table::kString, static_cast<uint32_t>(text.size()) + 1);
  if (id == 0) return StringId::kNone;
  memcpy(bytes + id, text.data(), text.size());
  bytes[id + text.size()] = 0;
  if (place != nullptr) place->store(id, std::memory_order_release);
  return StringId(id);
}

std::string_view Arena::text(StringId id) const {
  const uint32_t begin = index_of(id);
  const uint32_t end = capacity(Table::kString);
  if (begin == 0 || begin >= end) return {"", 0};
  const char* bytes = static_cast<const char*>(record(Table::kString, begin));
  const void* zero = memchr(bytes, 0, end - begin);
  if (zero == nullptr) return {"", 0};
  return {bytes, static_cast<size_t>(static_cast<const char*>(zero) - bytes)};
}

StackId Arena::intern(const Frame* frames, unsigned depth) {
  if (depth == 0) return StackId::kNone;
  if (depth > kStackDepth) depth = kStackDepth;
  uint64_t hash = mix(kSeed, depth);
  for (unsigned i = 0; i < depth; ++i) hash = mix(hash, frames[i].raw());
  auto* places = words<std::atomic<uint32_t>>(Table::kStackIndex);
  const uint32_t count = capacity(Table::kStackIndex);
  const auto is_it = [&](uint32_t id) {
    const Stack& stack = at<Stack>(StackId(id));
    return stack.hash == hash && stack.depth == depth &&
           memcmp(record(Table::kFrame, stack.first), frames, depth * sizeof(Frame)) == 0;
  };
  std::atomic<uint32_t>* place = find(places, count, hash, is_it);
  if (place != nullptr) {
    if (const uint32_t id = place->load(std::memory_order_acquire)) return StackId(id);
  }
  EngineLockGuard hold(interning_);
  place = find(places, count, hash, is_it);
  if (place != nullptr) {
    if (const uint32_t id = place->load(std::memory_order_relaxed)) return StackId(id);
  }
  const uint32_t first = take(Table::kFrame, depth);
  if (first == 0) return StackId::kNone;
  StackId id;
  Stack* stack = add<Stack>(&id);
  if (stack == nullptr) return StackId::kNone;
  memcpy(record(Table::kFrame, first), frames, depth * sizeof(Frame));
  stack->hash = hash;
  stack->first = first;
  stack->depth = depth;
  if (place != nullptr) place->store(index_of(id), std::memory_order_release);
  return id;
}

Arena::Frames Arena::frames(StackId id) const {
  const Stack& stack = at<Stack>(id);
  const uint32_t first = stack.first;
  const uint32_t depth = stack.depth;
  const uint32_t end = capacity(Table::kFrame);
  if (first == 0 || depth == 0 || depth > kStackDepth || first >= end || depth > end - first) return {nullptr, 0};
  return {static_cast<const Frame*>(record(Table::kFrame, first)), depth};
}

Frame Arena::frame_of(const Site& site) {
  if (site.line == 0) return Frame::pc(site.where);
  const std::string_view file(reinterpret_cast<const char*>(site.where));
  char text[512];
  char digits[10];
  unsigned n = 0;
  for (uint32_t line = site.line; line != 0; line /= 10) digits[n++] = static_cast<char>('0' + line % 10);
  // The end of a long path says more than its beginning.
  const size_t room = sizeof text - 1 - n;
  const size_t length = file.size() < room ? file.size() : room;
  memcpy(text, file.data() + file.size() - length, length);
  size_t at = length;
  text[at++] = ':';
  while (n != 0) text[at++] = digits[--n];
  return Frame::source(intern({text, at}));
}

}  // namespace causeway::dept
