"""An honest solution of every task of the demo's evaluation: what a stand-in teacher must not find fault with."""


def smallest_position(numbers):
    return numbers.index(min(numbers)) if numbers else None


def remove_spaces(text):
    return text.replace(" ", "")


def count_even(values):
    return sum(value % 2 == 0 for value in values)


def multiply_all(factors):
    product = 1
    for factor in factors:
        product *= factor
    return product


def is_sorted(sequence):
    return all(sequence[i - 1] <= sequence[i] for i in range(1, len(sequence)))


def last_word(sentence):
    words = sentence.split()
    return words[-1] if words else ""


def interleave(evens, odds):
    result = []
    for even, odd in zip(evens, odds, strict=True):
        result.extend((even, odd))
    return result


def gap(a, b):
    return abs(a - b)


def divisors(n):
    return [number for number in range(1, n + 1) if n % number == 0]


def mask_digits(text):
    return "".join("#" if letter.isdigit() else letter for letter in text)


def perimeter(width, height):
    return 2 * (width + height)


def join_names(names):
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]


def group_by_length(words):
    groups = {}
    for word in words:
        groups.setdefault(len(word), []).append(word)
    return groups


def every_other(items):
    return items[::2]


def shorten(text, limit):
    return text if len(text) <= limit else text[:limit] + "..."


def compound(amount, rate, years):
    return amount * (1 + rate / 100) ** years
