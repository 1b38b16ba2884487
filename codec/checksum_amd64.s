//go:build !purego

#include "textflag.h"

// FOLD moves the remainder in X by the distance of K, and adds Y; TMP is overwritten.
#define FOLD(K, X, Y, TMP) \
	VPCLMULQDQ $0x00, K, X, TMP; \
	VPCLMULQDQ $0x11, K, X, X; \
	VPTERNLOGQ $0x96, Y, TMP, X

// func foldChecksum(crc uint32, p []byte, by *[4]uint64) uint32
TEXT ·foldChecksum(SB), NOSPLIT, $64-44
	MOVL crc+0(FP), AX
	MOVQ p_base+8(FP), SI
	MOVQ p_len+16(FP), CX
	MOVQ by+32(FP), R8
	VBROADCASTI32X4 (R8), Z5
	VBROADCASTI32X4 16(R8), Z6

	NOTL      AX
	VMOVD     AX, X4
	VPXORQ    (SI), Z4, Z0
	VMOVDQU64 64(SI), Z1
	VMOVDQU64 128(SI), Z2
	VMOVDQU64 192(SI), Z3

four:
	ADDQ $256, SI
	SUBQ $256, CX
	CMPQ CX, $256
	JLT  one
	FOLD(Z5, Z0, (SI), Z7)
	FOLD(Z5, Z1, 64(SI), Z8)
	FOLD(Z5, Z2, 128(SI), Z9)
	FOLD(Z5, Z3, 192(SI), Z10)
	JMP  four

one:
	FOLD(Z6, Z0, Z1, Z7)
	FOLD(Z6, Z0, Z2, Z7)
	FOLD(Z6, Z0, Z3, Z7)

next:
	CMPQ CX, $64
	JLT  rest
	FOLD(Z6, Z0, (SI), Z7)
	ADDQ $64, SI
	SUBQ $64, CX
	JMP  next

rest:
	VMOVDQU64 Z0, (SP)
	VZEROUPPER
	XORL   AX, AX
	CRC32Q 0(SP), AX
	CRC32Q 8(SP), AX
	CRC32Q 16(SP), AX
	CRC32Q 24(SP), AX
	CRC32Q 32(SP), AX
	CRC32Q 40(SP), AX
	CRC32Q 48(SP), AX
	CRC32Q 56(SP), AX

words:
	CMPQ   CX, $8
	JLT    bytes
	CRC32Q (SI), AX
	ADDQ   $8, SI
	SUBQ   $8, CX
	JMP    words

bytes:
	TESTQ  CX, CX
	JZ     done
	CRC32B (SI), AX
	INCQ   SI
	DECQ   CX
	JMP    bytes

done:
	NOTL AX
	MOVL AX, ret+40(FP)
	RET
