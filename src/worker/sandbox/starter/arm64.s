# The first program of a step below proot (proot-starter.ts). To translate, with the tools of binutils-aarch64-linux-gnu:
#   as -o s.o arm64.s && ld -Ttext 0 -o s.elf s.o && objcopy -O binary -j .text s.elf s.bin && base64 -w 96 s.bin
base:
.byte 0x7f,'E','L','F',2,1,1,0
.quad 0
.hword 2,183
.word 1
.quad 0x400000+start-base
.quad 64
.quad 0
.word 0
.hword 64,56,1,0,0,0
.word 1,7
.quad 0
.quad 0x400000
.quad 0x400000
.quad end-base
.quad end-base+4096
.quad 4096
start:
 mov x19, sp
 mov x8, 172
 svc 0
 adr x1, said
 stur w0, [x1, 1]
 bl tell
 adr x9, notify
 ldr w9, [x9]
 cbz w9, run
 mov x8, 167
 mov x0, 38
 mov x1, 1
 mov x2, 0
 mov x3, 0
 mov x4, 0
 svc 0
 mov x8, 277
 mov x0, 1
 adr x1, flags
 ldr w1, [x1]
 adr x2, program
 adr x3, filter
 str x3, [x2, 8]
 svc 0
 tbnz x0, 63, fail
 mov x20, x0
 adr x9, control
 str w0, [x9, 16]
 adr x10, said
 adr x11, vector
 str x10, [x11]
 adr x1, message
 str x11, [x1, 16]
 str x9, [x1, 32]
 mov x8, 211
 mov x0, 10
 mov x2, 0
 svc 0
 tbnz x0, 63, fail
 mov x8, 57
 mov x0, x20
 svc 0
 mov x8, 57
 mov x0, 10
 svc 0
run:
 mov x8, 25
 mov x0, 9
 mov x1, 2
 mov x2, 1
 svc 0
 adr x9, skip
 ldr w9, [x9]
 ldr x10, [x19]
 add x9, x9, x10
 add x2, x19, x9, lsl 3
 add x2, x2, 16
 adr x9, keep
 ldr w9, [x9]
 str xzr, [x2, x9, lsl 3]
 ldr x0, [x19, 16]
 add x1, x19, 24
 mov x8, 221
 svc 0
fail:
 neg w20, w0
 adr x1, said
 stur w20, [x1, 1]
 mov w9, 'E'
 strb w9, [x1]
 bl tell
 mov x0, 126
 cmp w20, 2
 bne leave
 mov x0, 127
leave:
 mov x8, 94
 svc 0
tell:
 mov x8, 64
 mov x0, 9
 mov x2, 5
 svc 0
 ret
.balign 8
said: .byte 'P',0,0,0,0,0,0,0
vector: .quad 0,1
message: .quad 0,0,0,1,0,24,0
control: .quad 20
 .word 1,1
 .quad 0
program: .quad 0,0
flags: .word 0
skip: .word 0
keep: .word 0
notify: .word 0
filter:
end:
