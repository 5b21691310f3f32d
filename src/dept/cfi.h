// Call-frame information: how to get from a program counter to the caller's registers.
//
//   UnwindRule rule = find_rule(pc - 1);              // reads .eh_frame; some 200 ns
//   uintptr_t cfa = sp + rule.cfa_offset();           // if rule.cfa() is Cfa::kFromSp
//
// An UnwindRule holds in one word what walking a stack on x86-64 needs: where the canonical frame address (CFA: the
// stack pointer before the call) is, and where the caller's rbp was saved. The return address is always just below the
// CFA. Everything else .eh_frame can say about a place is Cfa::kEnd. Sources: DWARF 5, section 6.4; LSB 5.0,
// "Exception frames".
#pragma once

#include <cstdint>

namespace causeway::dept {

class UnwindRule {
 public:
  enum class Cfa : uint8_t {
    kEnd,      // outermost, without information, or not to be expressed here
    kFromSp,   // rsp + cfa_offset
    kFromBp,   // rbp + cfa_offset
    kDerefSp,  // *(rsp + cfa_offset) + cfa_addend: hand-written code that has saved its stack pointer
    kDerefBp,  // *(rbp + cfa_offset) + cfa_addend: a realigned stack
    kSignal,   // rsp is at a ucontext_t
  };
  enum class Bp : uint8_t {
    kSame,   // not touched
    kAtCfa,  // saved at CFA + bp_offset
    kAtBp,   // saved at rbp + bp_offset: a realigned stack
    kLost,
  };

  constexpr UnwindRule() = default;
  static constexpr UnwindRule from_word(uint64_t word) {
    UnwindRule rule;
    rule.word_ = word;
    return rule;
  }
  // Cfa::kEnd if a number does not fit.
  static constexpr UnwindRule make(Cfa cfa, int64_t cfa_offset, int64_t cfa_addend, Bp bp, int64_t bp_offset) {
    const bool fits = cfa_offset == static_cast<int32_t>(cfa_offset) && cfa_addend >= -512 && cfa_addend < 512 &&
                      bp_offset % 8 == 0 && bp_offset / 8 == static_cast<int16_t>(bp_offset / 8);
    if (!fits) return {};
    return from_word(static_cast<uint64_t>(cfa) | static_cast<uint64_t>(bp) << 3 |
                     (static_cast<uint64_t>(cfa_addend) & 0x3ff) << 6 |
                     (static_cast<uint64_t>(bp_offset / 8) & 0xffff) << 16 | static_cast<uint64_t>(cfa_offset) << 32);
  }

  constexpr Cfa cfa() const { return static_cast<Cfa>(word_ & 7); }
  constexpr Bp bp() const { return static_cast<Bp>(word_ >> 3 & 3); }
  constexpr int64_t cfa_offset() const { return static_cast<int64_t>(word_) >> 32; }
  constexpr int64_t cfa_addend() const { return static_cast<int64_t>(word_ << 48) >> 54; }
  constexpr int64_t bp_offset() const { return (static_cast<int64_t>(word_ << 32) >> 48) * 8; }
  constexpr uint64_t word() const { return word_; }
  friend constexpr bool operator==(UnwindRule, UnwindRule) = default;

 private:
  uint64_t word_ = 0;
};

// For the instruction at `pc`: of a caller, the last byte of its call; of interrupted code, the interrupted instruction
// itself.
UnwindRule find_rule(uintptr_t pc);

}  // namespace causeway::dept
