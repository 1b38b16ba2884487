//go:build !purego

#include "textflag.h"
#include "go_asm.h"

// Each iteration of both loops handles one tick: it chooses the pattern by the kind, checks all bytes at once, moves them to
// their places, and stores a full register. Conditional moves replace branches, except the branch for wide patterns, which
// are rare or nearly all.

// CHECK checks that each byte of X is in the bounds of the pattern at R10: byte - low <= span. The bytes of
// the conditions may be 0 instead. It sets R13 to the characters of the conditions, as bits, BX to their zeros, R12 to a
// value other than 0 if another byte is out of its bounds, and AX to all spaces. X, TMP and SPACES, which is full of spaces,
// are registers of the same width.
#define CHECK(X, TMP, SPACES) \
	VPSUBB   vectorPattern_low(R10), X, TMP; \
	VPCMPUB  $6, vectorPattern_span(R10), TMP, K1; \
	VPTESTMB X, X, K2; \
	VPCMPEQB X, SPACES, K3; \
	KMOVQ    K1, R12; \
	KMOVQ    K2, R13; \
	KMOVQ    K3, AX; \
	MOVQ     vectorPattern_text(R10), BX; \
	ANDQ     BX, R13; \
	XORQ     R13, BX; \
	ANDNQ    R12, BX, R12

// FIRSTLOW jumps to FAIL if CHECK found a bad byte, or if the conditions, whose first character is the lowest
// byte, have a character after a zero, or end in a space.
#define FIRSTLOW(FAIL) \
	MOVQ vectorPattern_textEnd(R10), BX; \
	ADDQ R13, BX; /* what follows the characters, if they are together */ \
	ANDQ BX, R13; \
	ORQ  R13, R12; \
	SHRQ $1, BX; \
	ANDQ AX, BX; \
	ORQ  BX, R12; \
	JNE  FAIL

// FIRSTHIGH is FIRSTLOW for conditions whose first character is the highest byte.
#define FIRSTHIGH(FAIL) \
	MOVQ vectorPattern_textEnd(R10), R13; \
	ADDQ BX, R13; /* the last character, if the zeros are together */ \
	ANDQ R13, BX; \
	ORQ  BX, R12; \
	ANDQ AX, R13; \
	ORQ  R13, R12; \
	JNE  FAIL

// SIZED takes the sizes of a quote and of a trade. It sets R11 to the start of the next entry, and R10 to
// 0 or 512. It jumps to decoded if the entry is incomplete.
#define SIZED(QUOTE, TRADE) \
	LEAQ    QUOTE(SI), R11; \
	LEAQ    TRADE(SI), R12; \
	MOVBLZX (SI), R10; \
	ANDL    $8, R10; /* 0 of 0x97, a quote; 8 of 0x98, a trade */ \
	CMOVQNE R12, R11; \
	CMPQ    R11, R9; \
	JHI     decoded; \
	SHLL    $6, R10

// PLACE moves the bytes of X to their places in Z2. OUT is the part of Z2 that is used.
#define PLACE(X, OUT) \
	VMOVDQU64 vectorPattern_from(R10), Z2; \
	VPERMB    X, Z2, Z2; \
	VPXORQ    vectorPattern_flip(R10), OUT, OUT

// func decodeVector(p []byte, batch []feed.Tick, base int64, seq uint64, by *[4]vectorPattern) (n, size int)
TEXT ·decodeVector(SB), NOSPLIT, $0-88
	MOVQ  p_base+0(FP), SI
	MOVQ  p_len+8(FP), R9
	ADDQ  SI, R9 // the end
	MOVQ  batch_base+24(FP), DI
	MOVQ  batch_len+32(FP), CX
	MOVQ  by+64(FP), R8
	TESTQ CX, CX
	JZ    decoded

	MOVQ         base+48(FP), AX
	MOVL         $0x80000000, BX // of a narrow pattern, the time becomes unsigned by it
	SUBQ         BX, AX
	VMOVQ        seq+56(FP), X6
	VPINSRQ      $1, AX, X6, X6 // Z6 is to add: the number, and the base time
	VPXORQ       X5, X5, X5
	VPINSRQ      $1, BX, X5, X5 // Z5 is to add beside it where the pattern is wide
	MOVL         $1, AX
	VMOVQ        AX, X7 // Z7 is 1, for the number
	MOVL         $0x20, AX
	VPBROADCASTB AX, Z8
	MOVQ         $(1<<53-1), AX // as long as an entry is
	KMOVQ        AX, K4

decode:
	LEAQ 64(SI), AX
	CMPQ AX, R9
	JHI  end

within:
	CMPB    2(SI), $0xcd
	JNE     wide
	SIZED(const_narrowQuote, const_narrowTrade)
	ADDQ    R8, R10
	VMOVDQU (SI), Y0
	CHECK(Y0, Y1, Y8)
	FIRSTLOW(decoded)
	PLACE(Z0, Z2)

decodedOne:
	CMPQ      56(DI), $0 // to clear a pointer takes more than a store
	JNE       decoded
	VPADDQ    Z6, Z2, Z2
	VPADDQ    Z7, Z6, Z6
	VMOVDQU64 Z2, (DI)
	ADDQ      $64, DI
	MOVQ      R11, SI
	DECQ      CX
	JNE       decode

decoded:
	SUBQ batch_base+24(FP), DI
	SHRQ $6, DI
	MOVQ DI, n+72(FP)
	SUBQ p_base+0(FP), SI
	MOVQ SI, size+80(FP)
	VZEROUPPER
	RET

wide:
	SIZED(const_wideQuote, const_wideTrade)
	LEAQ       1024(R8)(R10*1), R10
	VMOVDQU8.Z (SI), K4, Z0
	CHECK(Z0, Z1, Z8)
	FIRSTLOW(decoded)
	PLACE(Z0, Z2)
	VPADDQ    Z5, Z2, Z2
	JMP       decodedOne

end: // what is read beyond it is on the same page, and has no effect
	CMPQ SI, R9
	JCC  decoded
	MOVL SI, AX
	ANDL $4095, AX
	CMPL AX, $(4096-64)
	JLS  within
	JMP  decoded

// func encodeVector(dst []byte, ticks []feed.Tick, base, since int64, by *[4]vectorPattern) (n, size int, latest int64)
TEXT ·encodeVector(SB), NOSPLIT, $0-96
	MOVQ    dst_base+0(FP), DI
	MOVQ    dst_len+8(FP), DX
	MOVQ    ticks_base+24(FP), SI
	MOVQ    ticks_len+32(FP), CX
	MOVQ    since+56(FP), AX
	MOVQ    by+64(FP), R8
	VPXORQ  X9, X9, X9
	VPINSRQ $1, AX, X9, X9 // Z9 is the latest time
	SUBQ    $64, DX
	JLT     encoded
	ADDQ    DI, DX // the last place to write to
	TESTQ   CX, CX
	JZ      encoded

	MOVL         $0x80000000, AX
	VPXORQ       X5, X5, X5
	VPINSRQ      $1, AX, X5, X5 // Z5 is not to add where the pattern is wide
	SUBQ         base+48(FP), AX
	VPXORQ       X6, X6, X6
	VPINSRQ      $1, AX, X6, X6 // Z6 is to add, so that the time is the offset, and unsigned
	MOVL         $0x20, AX
	VPBROADCASTB AX, Z8

encode:
	CMPQ      DI, DX
	JHI       encoded
	MOVBLZX   20(SI), R10
	LEAQ      14(DI)(R10*4), R11
	LEAQ      2(R11)(R10*1), R11 // 26 of a quote, whose kind is 2; 31 of a trade, 3
	SUBL      $2, R10
	CMPL      R10, $1
	JHI       encoded
	SHLL      $9, R10
	ADDQ      R8, R10
	VMOVDQU64 (SI), Z0
	VPADDQ    Z6, Z0, Z1
	CHECK(Z1, Z2, Z8)
	FIRSTHIGH(wider)
	PLACE(Z1, Y2)
	VMOVDQU   Y2, (DI)

encodedOne:
	VPMAXSQ Z0, Z9, Z9
	ADDQ    $64, SI
	MOVQ    R11, DI
	DECQ    CX
	JNE     encode

encoded:
	VPEXTRQ $1, X9, AX
	MOVQ    AX, latest+88(FP)
	SUBQ    ticks_base+24(FP), SI
	SHRQ    $6, SI
	MOVQ    SI, n+72(FP)
	SUBQ    dst_base+0(FP), DI
	MOVQ    DI, size+80(FP)
	VZEROUPPER
	RET

wider:
	MOVBLZX   20(SI), AX
	LEAQ      50(DI)(AX*1), R11 // 52 of a quote, 53 of a trade
	ADDQ      $1024, R10
	VPSUBQ    Z5, Z1, Z1
	CHECK(Z1, Z2, Z8)
	FIRSTHIGH(encoded)
	PLACE(Z1, Z2)
	VMOVDQU64 Z2, (DI)
	JMP       encodedOne
