#include "dept/cfi.h"

#include "dept/cfi_reader.h"

namespace causeway::dept {
namespace {

// Columns of x86-64 (psABI, figure 3.36).
constexpr uint64_t kRbp = 6, kRsp = 7, kReturnAddress = 16;

// What an expression has computed, as far as it can be said without the registers' values.
struct Value {
  enum Base : uint8_t { kConstant, kSp, kBp, kCfa, kDerefSp, kDerefBp, kUnknown };
  Base base = kUnknown;
  int64_t offset = 0;  // from the base; of a dereferenced one, before that
  int64_t addend = 0;  // after it

  Value plus(int64_t number) const {
    Value sum = *this;
    (base == kDerefSp || base == kDerefBp ? sum.addend : sum.offset) += number;
    return sum;
  }
  Value dereferenced() const {
    if (base == kSp) return {kDerefSp, offset, 0};
    if (base == kBp) return {kDerefBp, offset, 0};
    return {};
  }
};

constexpr uint8_t kOpDeref = 0x06, kOpConst1u = 0x08, kOpConst1s = 0x09, kOpConst2u = 0x0a, kOpConst2s = 0x0b,
                  kOpConst4u = 0x0c, kOpConst4s = 0x0d, kOpConstu = 0x10, kOpConsts = 0x11, kOpAnd = 0x1a,
                  kOpMinus = 0x1c, kOpOr = 0x21, kOpPlus = 0x22, kOpPlusUconst = 0x23, kOpShl = 0x24, kOpShr = 0x25,
                  kOpEq = 0x29, kOpGe = 0x2a, kOpGt = 0x2b, kOpLe = 0x2c, kOpLt = 0x2d, kOpNe = 0x2e, kOpLit0 = 0x30,
                  kOpLit31 = 0x4f, kOpBreg0 = 0x70, kOpBreg31 = 0x8f, kOpNop = 0x96;

Value binary(uint8_t op, Value left, Value right) {
  if (op == kOpPlus && left.base == Value::kConstant) {
    Value swapped = left;
    left = right;
    right = swapped;
  }
  if (right.base != Value::kConstant) return {};
  const int64_t number = right.offset;
  if (op == kOpPlus) return left.plus(number);
  if (op == kOpMinus) return left.plus(-number);
  if (left.base != Value::kConstant) return {};
  const int64_t value = left.offset;
  switch (op) {
    case kOpAnd: return {Value::kConstant, value & number};
    case kOpOr: return {Value::kConstant, value | number};
    case kOpShl: return {Value::kConstant, static_cast<int64_t>(static_cast<uint64_t>(value) << (number & 63))};
    case kOpShr: return {Value::kConstant, static_cast<int64_t>(static_cast<uint64_t>(value) >> (number & 63))};
    case kOpEq: return {Value::kConstant, value == number};
    case kOpGe: return {Value::kConstant, value >= number};
    case kOpGt: return {Value::kConstant, value > number};
    case kOpLe: return {Value::kConstant, value <= number};
    case kOpLt: return {Value::kConstant, value < number};
    case kOpNe: return {Value::kConstant, value != number};
    default: return {};
  }
}

// What occurs: a saved stack pointer, a realigned frame, and the linker's own for .plt, which asks where in an entry pc
// is.
Value evaluate(CfiReader reader, Value initial, uintptr_t pc) {
  Value stack[16] = {initial};
  unsigned depth = initial.base == Value::kUnknown ? 0 : 1;
  const auto constant = [](auto number) { return Value{Value::kConstant, static_cast<int64_t>(number)}; };
  while (!reader.at_end()) {
    const uint8_t op = reader.fixed<uint8_t>();
    Value pushed;
    if (op >= kOpLit0 && op <= kOpLit31) {
      pushed = constant(op - kOpLit0);
    } else if (op >= kOpBreg0 && op <= kOpBreg31) {
      const uint64_t column = op - kOpBreg0;
      const int64_t offset = reader.sleb();
      if (column == kRsp) pushed = {Value::kSp, offset};
      if (column == kRbp) pushed = {Value::kBp, offset};
      if (column == kReturnAddress) pushed = constant(pc + static_cast<uint64_t>(offset));
      if (pushed.base == Value::kUnknown) return {};
    } else {
      switch (op) {
        case kOpNop: continue;
        case kOpConst1u: pushed = constant(reader.fixed<uint8_t>()); break;
        case kOpConst1s: pushed = constant(reader.fixed<int8_t>()); break;
        case kOpConst2u: pushed = constant(reader.fixed<uint16_t>()); break;
        case kOpConst2s: pushed = constant(reader.fixed<int16_t>()); break;
        case kOpConst4u: pushed = constant(reader.fixed<uint32_t>()); break;
        case kOpConst4s: pushed = constant(reader.fixed<int32_t>()); break;
        case kOpConstu: pushed = constant(reader.uleb()); break;
        case kOpConsts: pushed = constant(reader.sleb()); break;
        case kOpDeref:
          if (depth == 0) return {};
          pushed = stack[--depth].dereferenced();
          break;
        case kOpPlusUconst:
          if (depth == 0) return {};
          pushed = stack[--depth].plus(static_cast<int64_t>(reader.uleb()));
          break;
        default:
          if (depth < 2) return {};
          pushed = binary(op, stack[depth - 2], stack[depth - 1]);
          depth -= 2;
      }
      if (pushed.base == Value::kUnknown) return {};
    }
    if (depth == 16) return {};
    stack[depth++] = pushed;
  }
  return depth == 0 ? Value{} : stack[depth - 1];
}

struct Saved {
  enum How : uint8_t { kSame, kUndefined, kAtCfa, kExpression, kOther } how = kSame;
  int64_t offset = 0;
  const uint8_t* expression = nullptr;
  const uint8_t* expression_end = nullptr;
};

struct Row {
  uint64_t cfa_column = ~uint64_t{0};
  int64_t cfa_offset = 0;
  const uint8_t* cfa_expression = nullptr;  // instead of the two, if set
  const uint8_t* cfa_expression_end = nullptr;
  Saved bp, return_address;

  Saved* of(uint64_t column) { return column == kRbp ? &bp : column == kReturnAddress ? &return_address : nullptr; }
};

constexpr unsigned kRemembered = 8;

class Program {
 public:
  Program(const FrameDescription& function, uintptr_t pc) : function_(function), pc_(pc), location_(function.begin) {}

  // False: something it does not know.
  bool run(const uint8_t* begin, const uint8_t* end) {
    for (CfiReader reader(begin, end); !reader.at_end() && location_ <= pc_;) {
      if (!step(reader)) return false;
    }
    return true;
  }
  // What the row is now is what DW_CFA_restore goes back to.
  void set_initial() { initial_ = row_; }
  const Row& row() const { return row_; }

 private:
  bool step(CfiReader& reader) {
    const uint8_t op = reader.fixed<uint8_t>();
    const uint8_t low = op & 0x3f;
    switch (op >> 6) {
      case 1: return advance(low);
      case 2: return save(low, Saved::kAtCfa, static_cast<int64_t>(reader.uleb()) * function_.data_align);
      case 3: return restore(low);
      default: break;
    }
    uint64_t column;
    switch (op) {
      case 0x00: return true;  // nop
      case 0x01: location_ = reader.encoded(function_.pointer_encoding, 0); return true;
      case 0x02: return advance(reader.fixed<uint8_t>());
      case 0x03: return advance(reader.fixed<uint16_t>());
      case 0x04: return advance(reader.fixed<uint32_t>());
      case 0x05:  // offset_extended
        column = reader.uleb();
        return save(column, Saved::kAtCfa, static_cast<int64_t>(reader.uleb()) * function_.data_align);
      case 0x06: return restore(reader.uleb());
      case 0x07: return save(reader.uleb(), Saved::kUndefined, 0);
      case 0x08: return save(reader.uleb(), Saved::kSame, 0);
      case 0x09:  // register
        column = reader.uleb();
        reader.uleb();
        return save(column, Saved::kOther, 0);
      case 0x0a:  // remember_state
        if (remembered_ == kRemembered) return false;
        memory_[remembered_++] = row_;
        return true;
      case 0x0b:  // restore_state
        if (remembered_ == 0) return false;
        row_ = memory_[--remembered_];
        return true;
      case 0x0c:  // def_cfa
        column = reader.uleb();
        return define_cfa(column, static_cast<int64_t>(reader.uleb()));
      case 0x0d: return define_cfa(reader.uleb(), row_.cfa_offset);
      case 0x0e: return define_cfa(row_.cfa_column, static_cast<int64_t>(reader.uleb()));
      case 0x0f: {  // def_cfa_expression
        const uint64_t size = reader.uleb();
        row_.cfa_expression = reader.position();
        reader.skip(size);
        row_.cfa_expression_end = reader.position();
        return true;
      }
      case 0x10:    // expression
      case 0x16: {  // val_expression
        column = reader.uleb();
        const uint64_t size = reader.uleb();
        const uint8_t* const begin = reader.position();
        reader.skip(size);
        if (Saved* saved = row_.of(column)) {
          *saved = {op == 0x10 ? Saved::kExpression : Saved::kOther, 0, begin, reader.position()};
        }
        return true;
      }
      case 0x11:  // offset_extended_sf
        column = reader.uleb();
        return save(column, Saved::kAtCfa, reader.sleb() * function_.data_align);
      case 0x12:  // def_cfa_sf
        column = reader.uleb();
        return define_cfa(column, reader.sleb() * function_.data_align);
      case 0x13: return define_cfa(row_.cfa_column, reader.sleb() * function_.data_align);
      case 0x14:  // val_offset
        column = reader.uleb();
        reader.uleb();
        return save(column, Saved::kOther, 0);
      case 0x15:  // val_offset_sf
        column = reader.uleb();
        reader.sleb();
        return save(column, Saved::kOther, 0);
      case 0x2e: reader.uleb(); return true;  // GNU_args_size
      case 0x2f:                              // GNU_negative_offset_extended
        column = reader.uleb();
        return save(column, Saved::kAtCfa, -static_cast<int64_t>(reader.uleb()) * function_.data_align);
      default: return false;
    }
  }
  bool advance(uint64_t units) {
    location_ += units * function_.code_align;
    return true;
  }
  bool save(uint64_t column, Saved::How how, int64_t offset) {
    if (Saved* saved = row_.of(column)) *saved = {how, offset};
    return true;
  }
  bool restore(uint64_t column) {
    if (Saved* saved = row_.of(column)) *saved = *initial_.of(column);
    return true;
  }
  bool define_cfa(uint64_t column, int64_t offset) {
    row_.cfa_column = column;
    row_.cfa_offset = offset;
    row_.cfa_expression = nullptr;
    return true;
  }

  const FrameDescription& function_;
  const uintptr_t pc_;
  uintptr_t location_;
  Row row_, initial_;
  Row memory_[kRemembered];
  unsigned remembered_ = 0;
};

UnwindRule rule_of(const Row& row, uintptr_t pc) {
  if (row.return_address.how != Saved::kAtCfa || row.return_address.offset != -8) return {};
  Value cfa{row.cfa_column == kRsp ? Value::kSp : row.cfa_column == kRbp ? Value::kBp : Value::kUnknown, row.cfa_offset};
  if (row.cfa_expression != nullptr) cfa = evaluate({row.cfa_expression, row.cfa_expression_end}, {}, pc);

  // An undefined rbp reads as an unchanged one in every unwinder there is.
  auto bp = UnwindRule::Bp::kSame;
  int64_t bp_offset = 0;
  if (row.bp.how == Saved::kAtCfa) {
    bp = UnwindRule::Bp::kAtCfa;
    bp_offset = row.bp.offset;
  } else if (row.bp.how == Saved::kExpression) {
    const Value place = evaluate({row.bp.expression, row.bp.expression_end}, {Value::kCfa}, pc);
    bp = place.base == Value::kCfa  ? UnwindRule::Bp::kAtCfa
         : place.base == Value::kBp ? UnwindRule::Bp::kAtBp
                                    : UnwindRule::Bp::kLost;
    bp_offset = bp == UnwindRule::Bp::kLost ? 0 : place.offset;
  } else if (row.bp.how == Saved::kOther) {
    bp = UnwindRule::Bp::kLost;
  }

  switch (cfa.base) {
    case Value::kSp: return UnwindRule::make(UnwindRule::Cfa::kFromSp, cfa.offset, 0, bp, bp_offset);
    case Value::kBp: return UnwindRule::make(UnwindRule::Cfa::kFromBp, cfa.offset, 0, bp, bp_offset);
    case Value::kDerefSp: return UnwindRule::make(UnwindRule::Cfa::kDerefSp, cfa.offset, cfa.addend, bp, bp_offset);
    case Value::kDerefBp: return UnwindRule::make(UnwindRule::Cfa::kDerefBp, cfa.offset, cfa.addend, bp, bp_offset);
    default: return {};
  }
}

}  // namespace

UnwindRule find_rule(uintptr_t pc) {
  FrameDescription function;
  if (!find_description(frame_table_of(pc), pc, &function)) return {};
  if (function.is_signal) return UnwindRule::make(UnwindRule::Cfa::kSignal, 0, 0, UnwindRule::Bp::kSame, 0);
  if (function.return_address != kReturnAddress) return {};
  Program program(function, pc);
  if (!program.run(function.initial, function.initial_end)) return {};
  program.set_initial();
  if (!program.run(function.instructions, function.instructions_end)) return {};
  return rule_of(program.row(), pc);
}

}  // namespace causeway::dept
