# The first program of a step below proot (proot-starter.ts). To translate:
#   as -o s.o x64.s && ld -Ttext 0 -o s.elf s.o && objcopy -O binary -j .text s.elf s.bin && base64 -w 96 s.bin
.intel_syntax noprefix
.code64
base:
.byte 0x7f,'E','L','F',2,1,1,0
.quad 0
.word 2,62
.long 1
.quad 0x400000+start-base
.quad 64
.quad 0
.long 0
.word 64,56,1,0,0,0
phdr:
.long 1,7
.quad 0
.quad 0x400000
.quad 0x400000
.quad end-base
.quad end-base+4096
.quad 4096
start:
 mov rbx, rsp
 mov eax, 39
 syscall
 mov [rip+said+1], eax
 lea rsi, [rip+said]
 call tell
 cmp dword ptr [rip+notify], 0
 je run
 mov eax, 157
 mov edi, 38
 mov esi, 1
 xor edx, edx
 xor r10d, r10d
 xor r8d, r8d
 syscall
 mov eax, 317
 mov edi, 1
 mov esi, [rip+flags]
 lea rdx, [rip+filter]
 mov [rip+program+8], rdx
 lea rdx, [rip+program]
 syscall
 test eax, eax
 js fail
 mov r13d, eax
 mov [rip+control+16], eax
 lea rax, [rip+said]
 mov [rip+vector], rax
 lea rax, [rip+vector]
 mov [rip+message+16], rax
 lea rax, [rip+control]
 mov [rip+message+32], rax
 mov eax, 46
 mov edi, 10
 lea rsi, [rip+message]
 xor edx, edx
 syscall
 test eax, eax
 js fail
 mov eax, 3
 mov edi, r13d
 syscall
 mov eax, 3
 mov edi, 10
 syscall
run:
 mov eax, 72
 mov edi, 9
 mov esi, 2
 mov edx, 1
 syscall
 mov ecx, [rip+skip]
 add rcx, [rbx]
 lea rdx, [rbx+rcx*8+16]
 mov ecx, [rip+keep]
 mov qword ptr [rdx+rcx*8], 0
 mov rdi, [rbx+16]
 lea rsi, [rbx+24]
 mov eax, 59
 syscall
fail:
 neg eax
 mov ebp, eax
 mov [rip+said+1], eax
 mov byte ptr [rip+said], 'E'
 lea rsi, [rip+said]
 call tell
 mov edi, 126
 cmp ebp, 2
 jne leave
 mov edi, 127
leave:
 mov eax, 231
 syscall
tell:
 mov eax, 1
 mov edi, 9
 mov edx, 5
 syscall
 ret
.balign 8
said: .byte 'P',0,0,0,0,0,0,0
vector: .quad 0,1
message: .quad 0,0,0,1,0,24,0
control: .quad 20
 .long 1,1
 .quad 0
program: .quad 0,0
flags: .long 0
skip: .long 0
keep: .long 0
notify: .long 0
filter:
end:
