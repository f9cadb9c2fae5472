# A firmware of 64 KiB that asks one thing: do real, protected and long mode, paging, x87 and SSE work here?
# It answers on the debug console (port 0xe9) and leaves through isa-debug-exit (port 0xf4). accel.rs holds it assembled;
# a test there assembles this file again. QEMU maps it below 4 GiB and, the same, at 0xf0000.
        .set    BASE, 0xf0000
        .code16
start:  cli
        lgdtl   %cs:gdtr - start
        movl    %cr0, %eax
        orl     $1, %eax                # protected mode
        movl    %eax, %cr0
        ljmpl   $8, $BASE + protected - start
        .code32
protected:
        movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        fninit
        fwait
        movl    $0x2003, 0x1000         # page tables in fresh (zero) memory: the first 2 MiB as they are
        movl    $0x3003, 0x2000
        movl    $0x83, 0x3000
        movl    %cr4, %eax
        orl     $0x620, %eax            # PAE, OSFXSR, OSXMMEXCPT
        movl    %eax, %cr4
        movl    $0x1000, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx       # EFER
        rdmsr
        orl     $0x100, %eax            # LME
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000002, %eax       # paging, x87 checks
        movl    %eax, %cr0
        ljmpl   $24, $BASE + long - start
        .code64
long:   xorl    %eax, %eax
        cpuid
        pxor    %xmm0, %xmm0
        movdqu  %xmm0, 0x4000
        leaq    marker(%rip), %rsi
        movl    $marker_end - marker, %ecx
        movl    $0xe9, %edx
        cld
        rep outsb
        movb    $0x10, %al
        outb    %al, $0xf4
halt:   hlt
        jmp     halt
marker: .ascii  "basalt-guest-runs\n"
marker_end:
        .balign 8
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      # 32-bit code
        .quad   0x00cf93000000ffff      # data
        .quad   0x00af9b000000ffff      # 64-bit code
gdtr:   .word   gdtr - gdt - 1
        .long   BASE + gdt - start
