/* int64_t syscall6(nr, a1 .. a6): keeps the link register on the stack, so that a child which clone(2) gives a stack of
 * [entry, block] comes out in entry, with the block's address right below its stack pointer. */
	.text
	.globl syscall6
	.type syscall6, %function
syscall6:
	str x30, [sp, #-16]!
	mov x8, x0
	mov x0, x1
	mov x1, x2
	mov x2, x3
	mov x3, x4
	mov x4, x5
	mov x5, x6
	svc #0
	ldr x30, [sp], #16
	ret

/* The entry of a child. Nothing writes below its stack pointer: the one signal that a stub handles is sent
 * to none that has just begun. */
	.globl afar_child_entry
	.type afar_child_entry, %function
afar_child_entry:
	ldr x0, [sp, #-8]
	mov x29, #0
	mov x30, #0
	bl afar_child
	brk #0

/* The handler of the signal that interrupts a call, and its way back. */
	.globl afar_interrupt
	.type afar_interrupt, %function
afar_interrupt:
	ret
	.globl afar_restore
	.type afar_restore, %function
afar_restore:
	mov x8, #139
	svc #0

/* The entry of a root: argc, argv, environment and auxiliary vector are on the stack. */
	.globl _start
	.type _start, %function
_start:
	mov x0, sp
	mov x29, #0
	mov x30, #0
	bl afar_root
	brk #0

	.section .note.GNU-stack, "", %progbits
