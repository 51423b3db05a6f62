"""Build lomond. The metadata is in setup.cfg, except what this file reads from others.

The modules that `lomond._core` names are compiled on CPython 3.9 or newer if Cython and a C
compiler are available; else lomond is pure Python. The variable LOMOND_COMPILED decides:

    no          pure Python
    yes         compiled if possible, also for `pip install -e`, which is pure Python otherwise
    required    compiled, or the build fails
"""
import io
import os
import re
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

#: A fenced block of code, which stays as it is.
CODE_BLOCK = re.compile(r'(^```.*?^```$)', re.DOTALL | re.MULTILINE)

#: A link or a picture in Markdown whose target is in the tree, or on the same page.
RELATIVE_LINK = re.compile(r'!?\[([^\[\]]*)\]\((?![a-z][a-z0-9+.-]*:)([^)#\s]*)(?:#[^)\s]*)?\)')

HERE = os.path.dirname(os.path.abspath(__file__))

sys.path.insert(0, os.path.join(HERE, '.ci'))
try:
    import compiled
finally:
    sys.path.pop(0)


def read(*path):
    with io.open(os.path.join(HERE, *path), encoding='utf-8') as source:
        return source.read()


def read_version():
    """Return `lomond.__version__` without importing lomond: six and certifi may be missing."""
    # str(): distutils of 2.7 requires a native string.
    return str(re.search(
        r"^__version__ = '(.+)'$", read('lomond', '__init__.py'), re.MULTILINE).group(1))


def read_description():
    """Return README.md for a package index, where its relative links would be dead.

    Each link or picture is replaced by its text, and the path in parentheses.
    """
    parts = CODE_BLOCK.split(read('README.md'))
    parts[::2] = [RELATIVE_LINK.sub(name_path, part) for part in parts[::2]]
    return u'{}\nFiles named here, such as docs/index.md, are in the source distribution.\n'.format(
        u''.join(parts))


def name_path(link):
    words, path = link.groups()
    return words if words.rstrip(u'/') == path or not path else u'{} ({})'.format(words, path)


# -- the compiled modules --

DIRECTIVES = {
    'language_level': 3, 'binding': True, 'infer_types': True, 'auto_pickle': False,
    'nonecheck': True}      # None where an object of a compiled class is needed would be a crash

#: No debugging information, which would contain the path of the folder; and never -march or -mtune:
#: another machine's processor would end the program by SIGILL. GCC 12 warns about array bounds in
#: what Cython makes of comparisons with None.
FLAGS = [] if os.name == 'nt' else ['-O3', '-g0', '-Wno-array-bounds']

CHOICE = os.environ.get('LOMOND_COMPILED', '')


def find_obstacle():
    """Return why nothing is to be compiled, or None."""
    if CHOICE == 'no':
        return 'LOMOND_COMPILED=no'
    if CHOICE not in ('yes', 'required') and {'develop', 'editable_wheel'} & set(sys.argv):
        return 'an edited source would not be used'
    return compiled.unsupported()


def extensions():
    """Return what to compile."""
    if CHOICE not in ('', 'no', 'yes', 'required'):
        sys.exit('LOMOND_COMPILED={}: set it to no, yes or required'.format(CHOICE))
    obstacle = find_obstacle()
    if obstacle and CHOICE == 'required':
        sys.exit('lomond can not be compiled, and LOMOND_COMPILED=required: {}'.format(obstacle))
    if obstacle:
        return []
    hashed = [('LOMOND_SOURCES', '"{}"'.format(compiled.hash_sources()))]
    return [Extension(name, [compiled.source(name)], define_macros=hashed,
                      extra_compile_args=FLAGS) for name in compiled.modules()]


class BuildAllOrNone(build_ext):
    """Compile the modules; if one of them can't be compiled, build pure Python."""

    def run(self):
        if not self.extensions:
            return
        # What was compiled before is never newer than what this build needs.
        self.force = True
        self.parallel = self.parallel or os.cpu_count()
        try:
            from Cython.Build import cythonize
            translated = cythonize(
                self.extensions, force=True, quiet=True, build_dir=self.build_temp,
                compiler_directives=DIRECTIVES)
            sources = {extension.name: extension.sources for extension in translated}
            for extension in self.extensions:
                extension.sources = sources[extension.name]
            build_ext.run(self)
        # Cython, setuptools and the system each raise errors of their own.
        except Exception as error:
            why = str(error).strip().split('\n')[0]
            if CHOICE == 'required':
                sys.exit(
                    'lomond could not be compiled, and LOMOND_COMPILED=required: {}\nIt needs a C '
                    'compiler and the headers of Python (Debian, Ubuntu: apt install gcc '
                    'python3-dev).'.format(why))
            for path in self.get_outputs():
                if os.path.exists(path):
                    os.remove(path)
            # This is the distribution's list, too: what comes next treats it as pure Python.
            self.extensions[:] = []
            wheel = self.distribution.get_command_obj('bdist_wheel', create=False)
            if wheel:
                wheel.root_is_pure = True
            print('lomond is pure Python, since its modules could not be compiled: ' + why)


setup(version=read_version(), long_description=read_description(), ext_modules=extensions(),
      cmdclass={'build_ext': BuildAllOrNone})
