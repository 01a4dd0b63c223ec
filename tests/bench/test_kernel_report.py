"""The report counts the instructions of loops in machine code."""

from mamkpd_jax.bench.programs import kernel_report


def test_only_innermost_loops_are_counted():
    assembly = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/                   FFMA R2, R3, R4, R5 ;
        /*0020*/                   LDG.E R2, [R4.64] ;
        /*0030*/              @!P0 FFMA R2, R3, R4, R5 ;
        /*0040*/               @P1 BRA 0x20 ;
        /*0050*/               @P2 BRA 0x10 ;
        /*0060*/                   BRA 0x60 ;
    """
    assert [dict(loop) for loop in kernel_report.loops(assembly)] == [{"LDG": 1, "FFMA": 1, "BRA": 1}]
