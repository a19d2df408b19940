"""An honest solution of every task that the demo trains on: what a stand-in teacher must not find fault with."""

import math


def clamp(value, low, high):
    return max(low, min(value, high))


def count_vowels(text):
    return sum(letter in "aeiou" for letter in text.lower())


def running_max(numbers):
    largest = []
    for number in numbers:
        largest.append(max(number, largest[-1]) if largest else number)
    return largest


def is_leap_year(year):
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def factorial(n):
    result = 1
    for number in range(2, n + 1):
        result *= number
    return result


def fibonacci(count):
    numbers = []
    a, b = 0, 1
    for _ in range(count):
        numbers.append(a)
        a, b = b, a + b
    return numbers


def reverse_words(sentence):
    return " ".join(reversed(sentence.split()))


def is_palindrome(text):
    lowered = text.lower()
    return lowered == lowered[::-1]


def digit_sum(n):
    return sum(int(digit) for digit in str(abs(n)))


def to_fahrenheit(celsius):
    return celsius * 9 / 5 + 32


def flatten(rows):
    return [item for row in rows for item in row]


def unique(items):
    return list(dict.fromkeys(items))


def word_lengths(words):
    return {word: len(word) for word in words}


def average(numbers):
    return sum(numbers) / len(numbers) if numbers else 0


def second_largest(numbers):
    distinct = sorted(set(numbers))
    return distinct[-2] if len(distinct) > 1 else None


def count_words(text):
    counts = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return counts


def gcd(a, b):
    while b:
        a, b = b, a % b
    return a


def is_prime(n):
    return n > 1 and all(n % divisor for divisor in range(2, int(n**0.5) + 1))


def merge(first, second):
    return {**first, **second}


def chunk(items, size):
    return [items[start : start + size] for start in range(0, len(items), size)]


def rotate(items, steps):
    if not items:
        return items
    start = steps % len(items)
    return items[start:] + items[:start]


def longest_word(words):
    return max(words, key=len, default="")


def power(base, exponent):
    result = 1
    for _ in range(exponent):
        result *= base
    return result


def range_sum(start, stop):
    return sum(range(start, stop + 1))


def first_repeat(items):
    seen = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None


def find_index(items, target):
    for index, item in enumerate(items):
        if item == target:
            return index
    return -1


def drop_negatives(numbers):
    return [number for number in numbers if number >= 0]


def count_above(numbers, limit):
    return sum(number > limit for number in numbers)


def title_case(text):
    return " ".join(word.capitalize() for word in text.split(" "))


def repeat(text, times, separator):
    return separator.join([text] * times)


def dot_product(left, right):
    return sum(a * b for a, b in zip(left, right, strict=True))


def transpose(matrix):
    return [list(column) for column in zip(*matrix, strict=True)]


def invert(mapping):
    return {value: key for key, value in mapping.items()}


def median(numbers):
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


def discounted(price, percent):
    return price * (1 - percent / 100)


def clock(seconds):
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def circle_area(radius):
    return math.pi * radius**2 if radius > 0 else 0


def distance(x1, y1, x2, y2):
    return ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5


def grade(score):
    if score >= 90:
        return "A"
    if score >= 75:
        return "B"
    return "C" if score >= 60 else "F"


def fizz_buzz(n):
    lines = []
    for number in range(1, n + 1):
        line = "Fizz" * (number % 3 == 0) + "Buzz" * (number % 5 == 0)
        lines.append(line or str(number))
    return lines


def count_letter(text, letter):
    return text.count(letter)


def initials(full_name):
    return "".join(name[0].upper() for name in full_name.split())


def to_binary(n):
    return bin(n)[2:]


def differences(numbers):
    return [numbers[i] - numbers[i - 1] for i in range(1, len(numbers))]


def common_items(left, right):
    wanted = set(right)
    return [item for item in left if item in wanted]


def collatz_steps(n):
    steps = 0
    while n != 1:
        n = 3 * n + 1 if n % 2 else n // 2
        steps += 1
    return steps


def pad_left(text, width, fill):
    return text.rjust(width, fill)


def triangle_type(a, b, c):
    sides = len({a, b, c})
    if sides == 1:
        return "equilateral"
    return "isosceles" if sides == 2 else "scalene"
