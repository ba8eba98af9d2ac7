/* int64_t syscall6(nr, a1 .. a6): returns through the stack and keeps nothing on it but the return address, so that a
 * child which clone(2) gives a stack of [entry, block] comes out in entry. */
	.text
	.globl syscall6
	.type syscall6, @function
syscall6:
	mov %rdi, %rax
	mov %rsi, %rdi
	mov %rdx, %rsi
	mov %rcx, %rdx
	mov %r8, %r10
	mov %r9, %r8
	mov 8(%rsp), %r9
	syscall
	ret

/* The entry of a child: the block's address is what the stack has left. */
	.globl afar_child_entry
	.type afar_child_entry, @function
afar_child_entry:
	pop %rdi
	xor %ebp, %ebp
	and $-16, %rsp
	call afar_child
	hlt

/* The handler of the signal that interrupts a call, and its way back. */
	.globl afar_interrupt
	.type afar_interrupt, @function
afar_interrupt:
	ret
	.globl afar_restore
	.type afar_restore, @function
afar_restore:
	mov $15, %eax
	syscall

/* The entry of a root: argc, argv, environment and auxiliary vector are on the stack. */
	.globl _start
	.type _start, @function
_start:
	mov %rsp, %rdi
	xor %ebp, %ebp
	and $-16, %rsp
	call afar_root
	hlt

	.section .note.GNU-stack, "", @progbits
