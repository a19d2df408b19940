"""Code for the heuristic tier's tests: good in seven languages, valid but rare, and broken."""

from __future__ import annotations

GOOD = {
    "python": '''import sys


def even_sum(numbers):
    """The sum of the even numbers: {not a set}, "quoted", isn't it?"""
    total = 0
    for number in numbers:
        if number % 2 == 0:
            total += number
    return total


if __name__ == "__main__":
    print(f"sum: {even_sum([int(word) for word in sys.argv[1:]])} }")
'''.replace(' }")', '")'),
    "cpp": """#include <iostream>
#include <vector>

// isn't balanced: {[(
template <typename T>
T even_sum(const std::vector<T>& numbers) {
    T total{};
    for (const auto& number : numbers) {
        if (number % 2 == 0) total += number;
    }
    return total;
}

int main() {
    const char brace = '{';
    std::cout << "sum: }" << brace << even_sum<int>({1'000, 2, 3}) << std::endl;
    return 0;
}
""",
    "rust": """use std::collections::HashMap;

/// Isn't balanced: {[(
pub fn even_sum<'a>(numbers: &'a [i64]) -> i64 {
    numbers.iter().filter(|number| **number % 2 == 0).sum()
}

fn main() {
    let brace = '{';
    let mut seen: HashMap<char, &str> = HashMap::new();
    seen.insert(brace, "sum: }");
    println!("{} {:?} {}", even_sum(&[1, 2, 3]), seen, r#"raw " { "#);
}
""",
    "go": """package main

import "fmt"

// EvenSum isn't balanced: {[(
func EvenSum(numbers []int) int {
	total := 0
	for _, number := range numbers {
		if number%2 == 0 {
			total += number
		}
	}
	return total
}

func main() {
	fmt.Println("sum: }", EvenSum([]int{1, 2, 3}), '{', `raw "`)
}
""",
    "java": """import java.util.List;

public class EvenSum {
    // isn't balanced: {[(
    public static int evenSum(List<Integer> numbers) {
        int total = 0;
        for (int number : numbers) {
            if (number % 2 == 0) {
                total += number;
            }
        }
        return total;
    }

    public static void main(String[] args) {
        char brace = '{';
        System.out.println("sum: }" + brace + evenSum(List.of(1, 2, 3)));
    }
}
""",
    "javascript": """// isn't balanced: {[(
const { argv } = require("process");

function evenSum(numbers) {
  let total = 0;
  for (const number of numbers) {
    if (number % 2 === 0) {
      total += number;
    }
  }
  return total;
}

console.log(`sum: } ${evenSum(argv.map((word) => Number(word.replace(/["'{]/g, ''))))}`);
module.exports = { evenSum, brace: '{' };
""",
    "typescript": """// isn't balanced: {[(
import { argv } from "process";

interface Total {
  readonly value: number;
}

export function evenSum(numbers: readonly number[]): Total {
  let value = 0;
  for (const number of numbers) {
    if (number % 2 === 0) {
      value += number;
    }
  }
  return { value };
}

console.log(`sum: } ${evenSum(argv.map((word: string) => Number(word.replace(/["'{]/g, '')))).value}`);
""",
}
LANGUAGES = tuple(GOOD)

VALID_AND_RARE = [
    ("python", 'x = f"{d["key"]} and {d["other"]}"\nprint(x)\n'),  # 3.12
    ("python", "def first[T](xs: list[T]) -> T:\n    return xs[0]\n"),
    ("python", "type Pair = tuple[int, int]\nx: Pair = (1, 2)\n"),
    ("python", "try:\n    f()\nexcept TypeError, ValueError:\n    g()\n"),  # 3.14
    ("python", 'import re\nPATTERN = re.compile("\\d+")\n'),  # a SyntaxWarning, no error
    ("python", "import asyncio\nawait asyncio.sleep(1)\n"),  # a notebook's cell
    ("cpp", "bool f(boost::any a) { return a.type() == typeid(int); }\n"),
    ("cpp", "void f(int n) { double **m = new double *[n], **k = new double *[n]; }\n"),
    ("cpp", "struct A { B *b; B &get() { return b->operator*(); } };\n"),
    (
        "cpp",
        "FMT_BEGIN_NAMESPACE\nnamespace detail {\nFMT_API int f(int x) "
        "noexcept(true);\n}\nFMT_END_NAMESPACE\n",
    ),
    ("cpp", 'TEST_CASE("sum", "[even]") {\n    REQUIRE(even_sum({1, 2}) == 2);\n}\n'),
    ("cpp", '#include "x.h"\nREGISTER(\n    even_sum,\n    (int)\n)\nint main() { return 0; }\n'),
    ("cpp", "#ifdef A\nvoid f(int a) {\n#else\nvoid f() {\n#endif\n    run();\n}\n"),
    (
        "cpp",
        "#define EACH(i, n) for (int i = 0; i < n; i++)\nint main() {\n    EACH(i, 3)\n    EACH(j, "
        "3)\n    f();\n}\n",
    ),
    (
        "cpp",
        "double f(double x)\n{\n   STD_USING\n\n   if(fabs(sqrt(g(x))) > 1)\n      return 1;\n   "
        "return x;\n}\n",
    ),
    ("cpp", "#define BEGIN(n) struct A##n {\nBEGIN(3)\n    int x = 1;\n};\n"),
    (
        "cpp",
        "#if __has_include(<fcntl.h>) || \\\n    defined(X)\n#  error don't\n#endif\nint f();\n",
    ),
    ("rust", "pub fn f(x: &(dyn 'static + Fn())) {\n    x();\n}\n"),
    ("rust", "fn f() {\n    g(&mut #[inline(always)] || 1);\n}\n"),
    ("rust", "macro_rules! m {\n    ($($x:expr),* $(,)?) => { $( $x; )* };\n}\n"),
    (
        "go",
        "package a\n\ntype Set[T comparable] = map[T]bool\n\nfunc f() {\n\tfor i := range 3 "
        "{\n\t\tprint(i)\n\t}\n}\n",
    ),
    ("go", "// Package a says what it is for.\npackage a"),
    ("go", 'package tools\n\nimport (\n\t_ "example.org/tool"\n)\n'),
    ("go", 'package a\n\n// int add(int a, int b) { return a + b; }\nimport "C"\n'),
    ("go", "package a\n\n// Sqrt is written in assembly.\nfunc Sqrt(x float64) float64"),
    ("java", "import module java.base;\n\nvoid main() {\n    IO.println(1);\n}\n"),
    (
        "java",
        "class A extends B {\n    A(int x) {\n        check(x);\n        super(x);\n    }\n}\n",
    ),
    ("javascript", "class A {\n  accessor x = 1;\n}\n"),
    ("javascript", "const page = <div>don't {x} <A.B {...p} /></div>;\n"),
    ("typescript", "export type * from './types';\nexport const x = 1;\n"),
    ("typescript", "export interface Ref<in out A> {\n  a: A;\n}\n"),
    ("typescript", "type F = {\n  (a: number): string\n  <T>(b: T): T\n}\n"),
    ("typescript", "for (let i = 0; i < a.length; i++) {\n  if (a[i] > (b as number)) f(i);\n}\n"),
]

BROKEN_BY_LANGUAGE = [
    ("python", "def f(x)\n    return x + 1\n", "syntax_error"),
    ("python", "def f(x):\n    y = x\n      return y\n", "indentation"),
    ("python", "def f(x):\nreturn x + 1\n", "indentation"),
    ("python", "x = 1\nreturn x + 100\n", "syntax_error"),
    ("python", "def f(x):\n    return x\0 + 1\n", "syntax_error"),
    ("python", 'def f(x):\n    """The sum.\n    return x\n', "unclosed_quote"),
    ("python", "def f(numbers):\n    total = sum(numbers)\n    retu", "cut_off"),
    ("python", "def f(numbers):\n    total = sum(numbers)\n    return tot", "cut_off"),
    ("python", "def f(self):\n    self.total = 0\n    self.total.app", "cut_off"),
    ("python", "def f(total):\n    twice = total + total\n    return total ; twice", "cut_off"),
    # the last bracket is open in all of these, and more text could mend some of them only
    ("python", "def f(:\n    pass", "unclosed_bracket"),
    ("python", "def add(first, :", "unclosed_bracket"),
    ("python", "def f(x)\n    return (x + 10", "unclosed_bracket"),
    ("python", "total = max(1,, 2", "unclosed_bracket"),
    ("python", "def add(first, sec", "cut_off"),
    ("python", "def add(first: in", "cut_off"),
    ("python", "pairs: tuple[int, ..", "cut_off"),
    ("python", "while (found :", "cut_off"),
    ("python", "odd = [x for x in xs i", "cut_off"),
    ("python", "    total = (first + ", "cut_off"),
    ("python", "print(add(1, 'tw", "cut_off"),
    ("cpp", "int f(int x) {\n    int y = x + 1\n    return y;\n}\n", "missing_separator"),
    ("cpp", "int f(int x) {\n    g(x)\n    return x;\n}\n", "missing_separator"),
    ("cpp", "struct A {\n    int x;\n}\nint f();\n", "missing_separator"),
    ("cpp", "#include <vector>\nint f(int x) { return x; }\n#inc", "cut_off"),
    ("cpp", "#include <vector>\n#include <str", "cut_off"),
    ("cpp", "int f(int x) { return x; }\n\nstd::vector<int> gath", "cut_off"),
    ("cpp", "#ifndef A_H\n#define A_H\nint f();\nint g(]\n", "unclosed_conditional"),
    ("cpp", "int f();\n/* and so on\nint g();\n", "unclosed_comment"),
    ("rust", "fn f() -> u8 {\n    let x = 1\n    x\n}\n", "syntax_error"),
    (
        "rust",
        "fn f(a: u8, b: u8) {\n    assert_eq!(a, b)\n    assert_eq!(b, a);\n}\n",
        "missing_separator",
    ),
    ("rust", "fn f() {}\n/* and /* so */ on\nfn g() {}\n", "unclosed_comment"),
    ("go", "package a\n\nfunc f() int {\n\treturn 1 +\n}\n", "syntax_error"),
    ("go", "package a\n\nfunc f() int {\n\treturn 1\n}\n\nfun", "syntax_error"),
    ("go", 'package a\n\nimport "time"\n\n// AddGigasecon', "cut_off"),
    ("go", 'package a\n\nimport (\n\t_ "embed"\n\tclock "time"\n)\n', "cut_off"),
    ("go", "package a\n\n// RollADie returns a number.\nfunc RollADie() i", "cut_off"),
    (
        "java",
        "class A {\n    int f() {\n        int x = 1\n        return x;\n    }\n}\n",
        "syntax_error",
    ),
    ("javascript", "function f(x) {\n  return x +* 1;\n}\n", "syntax_error"),
    (
        "javascript",
        "export const colors = [1, 2];\n\nexport const code = (color) => colo",
        "cut_off",
    ),
    ("javascript", "function f(x) {\n  return `${x;\n}\n", "unclosed_quote"),
    (
        "typescript",
        "function f(x: number): number {\n  let y = = x;\n  return y;\n}\n",
        "syntax_error",
    ),
]
